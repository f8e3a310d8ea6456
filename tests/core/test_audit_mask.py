"""What is written down of a record: ECS fields, one line, no secrets; and that it comes back as it was."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.ecs import document, read, written
from telemetry_mcp.audit.mask import CUT, HIDDEN, is_secret, masked, masked_text

NOW_MS = 1_790_000_000_123
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
WHOLE = AuditRecord(
    at_ms=NOW_MS,
    action="tools/call",
    name="get_current_metrics",
    outcome="denied",
    duration_ms=12.345,
    arguments={"service": "payment", "metrics": ["cpu"], "hours": 1.5, "fresh": None},
    sources={"prometheus": "ok", "datadog": "failed"},
    subject="alice",
    kind="user",
    roles=("viewer", "responder"),
    client="claude",
    address="192.0.2.7",
    reason="has no role for it",
    items=3,
    trace_id="0af7651916cd43dd8448eb211c80319c",
    user_agent="claude/1.0",
)


def test_the_fields_are_those_of_the_elastic_common_schema() -> None:
    fields = document(WHOLE)
    assert fields["@timestamp"] == "2026-09-21T14:13:20.123Z"
    assert fields["event"] == {
        "kind": "event",
        "category": ["api"],
        "type": ["access", "denied"],
        "action": "tools/call",
        "outcome": "failure",
        "duration": 12_345_000,
        "reason": "has no role for it",
    }
    assert fields["user"] == {"id": "alice", "roles": ["viewer", "responder"]}
    assert fields["client"] == {"address": "192.0.2.7"}
    assert fields["source"] == {"ip": "192.0.2.7"}
    assert fields["user_agent"] == {"original": "claude/1.0"}
    assert fields["trace"] == {"id": WHOLE.trace_id}
    ours = fields["telemetry_mcp"]
    assert (ours["tool"], ours["client"], ours["items"]) == ("get_current_metrics", "claude", 3)
    assert ours["sources"] == WHOLE.sources
    assert ours["caller"] == {"kind": "user"}


@pytest.mark.parametrize(
    "record", [WHOLE, AuditRecord(0, "server.start", "telemetry-mcp", "answered", 0.0)], ids=["whole", "least"]
)
def test_a_record_comes_back_from_its_line_as_it_was(record: AuditRecord) -> None:
    line = written(document(record))
    assert b"\n" not in line
    assert read(line) == replace(record, line=line)
    assert written(orjson.loads(line)) == line


def test_an_address_that_is_no_ip_is_in_no_field_for_ips() -> None:
    fields = document(replace(WHOLE, address="unix socket"))
    assert fields["client"] == {"address": "unix socket"}
    assert "source" not in fields


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"event": 1, "telemetry_mcp": {}, "user": {}}', b"\xff"])
def test_what_is_no_record_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read(line)


@pytest.mark.parametrize(
    "name",
    ["password", "api_key", "apiKey", "X-Auth-Token", "dbPassword", "client.secret", "PRIVATE_KEY", "tokens"],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)
    assert masked({name: "hunter2", "deep": {name: ["hunter2"]}}) == {name: HIDDEN, "deep": {name: HIDDEN}}


@pytest.mark.parametrize("name", ["service", "author", "keyboard", "key", "metric", "tokenizer", "secretary"])
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_secret(name)
    assert masked({name: "payment"}) == {name: "payment"}


def test_a_number_of_tokens_is_no_secret() -> None:
    assert masked({"max_tokens": 2000}) == {"max_tokens": 2000}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"see {JWT} there", "see *** there"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("password=hunter22&x=1", "password=***&x=1"),
        ('{"api_key": "0123456789ab"}', '{"api_key": "***"}'),
        ("https://bob:hunter2@example.org/x", "https://bob:***@example.org/x"),
        ("ghp_" + "a" * 36, "***"),
        ("tmcp_ab12_" + "f" * 64, "***"),
        ("NRAK-ABCDEFGHIJKLMNOP", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- and", "*** and"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "***"),
        ("a\nb\x00c\u202ed", "a b c d"),
        ("token bucket of tokens", "token bucket of tokens"),
        ("rate(http_requests_total[5m])", "rate(http_requests_total[5m])"),
    ],
)
def test_secrets_in_text_are_hidden_and_the_rest_is_not(text: str, kept: str) -> None:
    assert masked_text(text) == kept
    assert masked({"query": [text]}) == {"query": [kept]}


def test_a_secret_at_the_cut_is_hidden_too() -> None:
    text = "x" * 290 + " " + JWT
    assert masked_text(text) == "x" * 290 + " ***"
    assert "eyJ" not in masked_text("x" * 299 + " " + JWT * 30)


def test_what_is_long_deep_or_much_is_cut() -> None:
    assert masked_text("x" * 100_000) == "x" * 299 + CUT
    much = masked({"ids": list(range(100_000)), "more": 1})
    assert len(much["ids"]) < 200
    assert "more" not in much
    deep: object = "x"
    for _ in range(500):
        deep = {"in": deep}
    line = written({"a": masked({"deep": deep})})
    assert line.count(b"in") == 5
    assert CUT.encode() in line


@pytest.mark.parametrize("odd", [10**30, -(10**30), float("nan"), float("inf"), "\ud800", {1: 2}, object(), b"x"])
def test_whatever_a_caller_writes_can_be_written_down_and_reads_the_same(odd: object) -> None:
    line = written({"arguments": masked({"odd": odd})})
    assert written(orjson.loads(line)) == line
