"""What looks like a secret, or an address, does not leave; what only sounds like one does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.access.pseudonym import Pseudonyms
from telemetry_mcp.access.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

# Put together here, so that no scanner of this repository takes them for real ones.
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n-----END RSA " + "PRIVATE KEY-----"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
SECRETS = (
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "11ABCDEFG0" * 3,
    "glpat-" + "x1y2z3w4v5u6t7s8r9q0",
    "xoxb-" + "123456789012-abcdefghijkl",
    "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "NRAK-" + "ABCDEFGHIJ0123456789ABCDEFG",
    JWT,
    PEM,
)


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:6])
def test_the_shapes_of_known_tokens_are_taken_out_wherever_they_stand(secret: str) -> None:
    assert redact(secret) == "[secret]"
    assert redact(f"rotate {secret}, please") == "rotate [secret], please"
    assert redact(f"see ({secret})") == "see ([secret])"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password=hunter2 for db", "password=[secret] for db"),
        ("DB_PASSWORD: S3cure!", "DB_PASSWORD: [secret]"),
        ('{"password": "two words", "user": "jo"}', '{"password": [secret], "user": "jo"}'),
        ("the password is hunter2", "the password is [secret]"),
        ("pwd=correct", "pwd=[secret]"),
        ("api_key=0123456789abcdef", "api_key=[secret]"),
        ("client_secret: 8f7a6b5c4d", "client_secret: [secret]"),
        ("https://x.test/hook?token=a1b2c3d4&x=1", "https://x.test/hook?token=[secret]&x=1"),
        ("https://x.test/get?sig=0123456789abcdef", "https://x.test/get?sig=[secret]"),
        ("postgres://app:s3cr@t@db:5432/x", "postgres://app:[secret]@db:5432/x"),
        ("redis://:pass@cache:6379", "redis://:[secret]@cache:6379"),
        ("Authorization: Bearer abc123def456ghi7", "Authorization: Bearer [secret]"),
        ("Authorization: Token 998877665544", "Authorization: Token [secret]"),
        ("curl -H 'Bearer abc123def456'", "curl -H 'Bearer [secret]'"),
        ("https://hooks.slack.com/services/T00/B00/xyz123456", "https://[secret]"),
    ],
)
def test_what_is_assigned_to_a_secrets_name_is_taken_out_and_its_name_stays(text: str, left: str) -> None:
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "High latency on checkout: p95 above 500 ms",
        "token: expired for 12 users",
        "password: incorrect, three times",
        "the password is wrong",
        "secret rotation is due",
        "max_token=4096, tokens: 1200",
        "basic infrastructure-monitoring of the key service",
        "Deploy payment-processor v2.14.0 (3f2a9c1b7d5e8f60a1b2c3d4e5f60718293a4b5c)",
        "https://demo.pagerduty.com/incidents/QO6TPZ2VCUCLZX?key=short",
        'sum by (service) (rate(http_requests_total{service=~"api|web"}[5m]))',
        "task-queue disk-usage risk-engine",
        "monkey=banana bread",
        "password=${DB_PASSWORD}",
        "@oncall please look, user@host is down",
        "MTIzNDU2N3xBUE18QVBQTElDQVRJT058NjM4OTI0NDQ4",
    ],
)
def test_what_only_sounds_like_a_secret_is_the_very_same_text(text: str) -> None:
    assert redact(text) is text


def test_addresses_are_taken_out_unless_they_may_be_seen() -> None:
    text = "paged Ines.Moreau+ops@mail.example.com and jo@example.com"
    assert redact(text) == "paged [e-mail] and [e-mail]"
    assert redact(text, emails=False) == text
    assert redact("jo@example.com password=hunter2", emails=False) == "jo@example.com password=[secret]"


def test_redacting_twice_changes_nothing_more() -> None:
    for text in ("password=hunter2", "jo@example.com", "Bearer abc123def456", "postgres://a:b@c/d", *SECRETS):
        assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "password=" * 200,
        "a" * 2000 + "@",
        "eyJ" + "a" * 2000,
        "://" + ":" * 2000 + "@",
        "api key " * 250,
        "@a." * 700,
    ],
    ids=lambda text: text[:10],
)
def test_no_text_keeps_the_search_busy(text: str) -> None:
    took_s = timed(lambda: redact(text))
    assert took_s < 0.1


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


SECRET = "0123456789abcdef0123456789abcdef"


def test_a_pseudonym_leads_back_for_its_own_caller_only() -> None:
    kim, lee = Pseudonyms(SECRET, "user:kim"), Pseudonyms(SECRET, "user:lee")
    token = kim.sealed("Amara Okafor")
    assert token == kim.sealed("Amara Okafor") == Pseudonyms(SECRET, "user:kim").sealed("Amara Okafor")
    assert token != lee.sealed("Amara Okafor")
    assert kim.opened(token) == "Amara Okafor"
    assert lee.opened(token) is None
    assert Pseudonyms(SECRET[::-1], "user:kim").opened(token) is None
    assert [kim.opened(text) for text in ("", "p~", "p~!", "p~aaaa", token[:-1], "Amara Okafor")] == [None] * 6


def test_a_pseudonym_is_short_enough_for_an_answer_and_takes_any_text() -> None:
    kim = Pseudonyms(SECRET, "user:kim")
    for text in ("", "ä" * 100, "\ud800", "p~not one", "x" * 2000):
        assert len(kim.sealed(text)) <= 160
    assert kim.sealed(kim.sealed("once")) == kim.sealed("once")
    assert kim.opened(kim.sealed("ä" * 100)) == "ä" * 40


def test_a_hash_is_the_same_for_all_callers_and_another_under_another_secret() -> None:
    kim, lee = Pseudonyms(SECRET, "user:kim"), Pseudonyms(SECRET, "user:lee")
    assert kim.hashed("falcon") == lee.hashed("falcon") != kim.hashed("osprey")
    assert kim.hashed("falcon") != Pseudonyms(SECRET[::-1], "user:kim").hashed("falcon")
