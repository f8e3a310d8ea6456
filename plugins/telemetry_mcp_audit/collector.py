"""What the answers of Splunk's HTTP Event Collector mean: an HTTP status, and a code with a text in the body."""

from __future__ import annotations

from typing import Any

from telemetry_mcp import (
    AuthError,
    ForbiddenError,
    HttpReply,
    ProtocolError,
    RateLimitedError,
    SourceError,
    UpstreamError,
    error_for_status,
    parse_json,
    retry_after,
)

TOKEN = {
    1: "the token is disabled: enable it in Splunk under Data inputs, HTTP Event Collector",
    2: "Splunk got no token: does a proxy take the Authorization header away?",
    3: "Splunk cannot read the token: does a proxy change the Authorization header?",
    4: "Splunk does not know the token: set token to the value that it shows for this input",
}
NOT_ALLOWED = {
    7: "the token may not write to the index {index}: allow it for the token, or set another index",
    14: "the token has no indexer acknowledgement: enable it for the token in Splunk, or set ack = false",
}
CHANNEL = {10, 11}
EVENT = {6, 12, 13, 15}
"""One event is wrong, and not the request."""


def answer_of(reply: HttpReply) -> dict[str, Any]:
    try:
        answer = parse_json(reply.body)
    except ProtocolError:
        return {}
    return answer if isinstance(answer, dict) else {}


def words(reply: HttpReply) -> str:
    """What the collector says, or the beginning of what somebody else said in its place."""
    answer = answer_of(reply)
    return str(answer.get("text") or reply.body[:300].decode("utf-8", "replace"))


def faulty(reply: HttpReply, events: int) -> int | None:
    """Which event of a batch was refused for what is in it; None when the fault lies elsewhere."""
    answer = answer_of(reply)
    number = answer.get("invalid-event-number")
    if reply.status != 400 or answer.get("code") not in EVENT or not isinstance(number, int):
        return None
    return number if 0 <= number < events else None


def fault(reply: HttpReply, index: str | None) -> SourceError:
    """The error that an answer means, with what to do about it."""
    code, said = answer_of(reply).get("code"), words(reply)
    if code in TOKEN:
        return AuthError(f"{TOKEN[code]} (HTTP {reply.status}, {said})")
    if code in NOT_ALLOWED:
        told = NOT_ALLOWED[code].format(index=index or "that it names by default")
        return ForbiddenError(f"{told} (HTTP {reply.status}, {said})")
    if code in CHANNEL:
        return ProtocolError(f"Splunk got no channel: does a proxy take X-Splunk-Request-Channel away? ({said})")
    wait_s = retry_after(reply.headers)
    if reply.status in (429, 503):
        return RateLimitedError(f"Splunk is busy or stops: HTTP {reply.status}: {said}", retry_after_s=wait_s)
    if reply.status == 400:
        return UpstreamError(f"Splunk refused the batch: {said} (code {code})")
    return error_for_status(reply.status, said, retry_after_s=wait_s)
