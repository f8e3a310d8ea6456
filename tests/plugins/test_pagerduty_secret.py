"""What looks like a credential is taken out of PagerDuty's texts, and nothing else is."""

from __future__ import annotations

from time import perf_counter

import pytest

from telemetry_mcp_pagerduty.secret import is_secret, without_planted, without_secrets
from telemetry_mcp_pagerduty.wire import flat, text

KEY = "R0ABCDEFGHIJKLMNOPQRSTUVWXYZ0123"
HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"use {KEY} now", "use *** now"),
        (f'routing_key="{HEX}"', 'routing_key="***"'),
        (f"service_key: {HEX}, then", "service_key: ***, then"),
        ("DB_PASSWORD=hunter22 in env", "DB_PASSWORD=*** in env"),
        ("Authorization: Bearer abcdefghijklmnop.qrs", "Authorization: Bearer ***"),
        ("x-api-key: 'k-12345678'", "x-api-key: '***'"),
        ("https://ci.example/?token=abc12345&run=7", "https://ci.example/?token=***&run=7"),
        ("postgres://app:s3cret@db:5432/x", "postgres://***@db:5432/x"),
        (
            f"https://events.pagerduty.com/integration/{HEX}/enqueue",
            "https://events.pagerduty.com/integration/***/enqueue",
        ),
        ("https://hooks.slack.com/services/T0/B0/abcdefgh", "https://hooks.slack.com/services/***"),
        ("ghp_0123456789abcdef0123 was pushed", "*** was pushed"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("jwt eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl end", "jwt *** end"),
    ],
)
def test_what_looks_like_a_credential_is_hidden(given: str, shown: str) -> None:
    assert text(given) == shown


@pytest.mark.parametrize(
    "harmless",
    [
        f"commit {HEX}",
        "Invalid token or key",
        "the token was renewed",
        "incident_key: 8f7d2c1e9a7b4c5d",
        "api-gateway: error rate above 1 %",
        "Deploy checkout v2.14.0 (RELEASE-2024)",
        "https://acme.pagerduty.com/incidents/Q1ABCDEFGHIJKL",
    ],
)
def test_ordinary_words_stay(harmless: str) -> None:
    assert text(harmless) == harmless


def test_a_key_is_hidden_even_where_the_line_is_cut() -> None:
    assert "R0ABC" not in text("x" * 280 + " " * 900 + KEY)


def test_values_of_keys_are_gone_from_the_whole_body_and_short_ones_stay() -> None:
    body = f'{{"a":{{"Routing_Key": "odd-key-0123"}},"b":"odd-key-0123!","my_token":"short","c":"{KEY}"}}'
    assert without_planted(body.encode()) == (
        f'{{"a":{{"Routing_Key": "***"}},"b":"***!","my_token":"short","c":"{KEY}"}}'.encode()
    )


@pytest.mark.parametrize("name", ["routing_key", "serviceKey", "X-API-Key", "db.password", "tokens"])
def test_members_that_hold_credentials_are_known_by_name(name: str) -> None:
    assert is_secret(name)
    assert flat({name: "abc", "load": 5}) == "load: 5"


@pytest.mark.parametrize("name", ["incident_key", "alert_key", "dedup_key", "keyboard", "tokens_used"])
def test_other_members_do_not_look_like_it(name: str) -> None:
    assert not is_secret(name)


def test_details_however_deep_or_many_end_in_one_short_line() -> None:
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    assert flat(deep) == "..."
    assert len(flat({f"k{number}": "v" for number in range(1000)})) < 200


@pytest.mark.parametrize("hostile", ["a" * 200_000, "token" * 40_000, '"' * 100_000, "key=" * 50_000])
def test_no_text_is_so_hostile_that_the_search_takes_long(hostile: str) -> None:
    began = perf_counter()
    without_secrets(hostile)
    without_planted(hostile.encode())
    assert perf_counter() - began < 2
