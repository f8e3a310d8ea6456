"""A source's secrets are hidden in every spelling in which they travel."""

import json
from base64 import b64encode
from urllib.parse import quote, quote_plus

import pytest
from pydantic import BaseModel, SecretStr

from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import HttpSettings

SECRET = 's3cret/to ken+"ü"'


class Nested(BaseModel):
    tokens: list[SecretStr] = []
    by_name: dict[str, SecretStr] = {}


class Settings(HttpSettings):
    token: SecretStr | None = None
    nested: Nested = Nested()
    pair: tuple[SecretStr, ...] = ()


def redactor(**settings: object) -> Redactor:
    return Redactor(Settings.model_validate({"plugin": "x", "url": "http://127.0.0.1", **settings}))


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        b64encode(SECRET.encode()).decode(),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
    ],
)
def test_a_secret_is_hidden_however_it_is_spelt(spelling: str) -> None:
    hidden = redactor(token=SECRET)(f"before {spelling} after")
    assert hidden.replace('"', "") == "before *** after"


@pytest.mark.parametrize(
    "settings",
    [
        {"token": "t0ken"},
        {"bearer_token": "t0ken"},
        {"headers": {"x-key": "t0ken"}},
        {"nested": {"tokens": ["other", "t0ken"]}},
        {"nested": {"by_name": {"a": "t0ken"}}},
        {"pair": ["t0ken"]},
    ],
)
def test_a_secret_is_found_wherever_it_is_in_the_settings(settings: dict[str, object]) -> None:
    assert redactor(**settings)("t0ken, t0ken") == "***, ***"


def test_basic_authentication_is_hidden_as_it_is_sent() -> None:
    header = b64encode(b"user:passw0rd").decode()
    assert redactor(username="user", password="passw0rd")(f"Basic {header} of user") == "Basic *** of user"


def test_a_secret_that_holds_another_is_hidden_whole() -> None:
    assert redactor(token="abcd-efgh", bearer_token="abcd")("abcd-efgh abcd") == "*** ***"


def test_what_is_too_short_to_be_a_secret_is_left_alone() -> None:
    assert redactor(token="a")("a banana") == "a banana"
    assert redactor(token="")("a banana") == "a banana"
