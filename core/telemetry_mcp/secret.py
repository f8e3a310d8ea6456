"""Credentials never leave: every text on its way out is searched for the secrets that its source was given."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

HIDDEN = "***"
SHORTEST = 4


class Redactor:
    """Replaces the secrets of one source in any text, in the spellings in which they travel."""

    def __init__(self, settings: BaseModel) -> None:
        spellings = {spelling for secret in found(settings) for spelling in spell(secret)}
        username, password = getattr(settings, "username", None), getattr(settings, "password", None)
        if username and isinstance(password, SecretStr):
            spellings.add(b64encode(f"{username}:{password.get_secret_value()}".encode()).decode())
        self.spellings = sorted((s for s in spellings if len(s) >= SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for spelling in self.spellings:
            text = text.replace(spelling, HIDDEN)
        return text


def found(value: object) -> Iterator[str]:
    """Every secret inside settings, however deep."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from found(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from found(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from found(item)


def spell(secret: str) -> Iterator[str]:
    yield secret
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield b64encode(secret.encode()).decode()
