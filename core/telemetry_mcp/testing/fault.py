"""The states of a backend that the contract knows, and how a source's answer to each must end."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

SLOW_S = 0.3
"""How long a slow backend takes for each request: well beyond the longest that a loop may be blocked."""
DRIP_S = 0.02
RETRY_AFTER_S = 7
BOMB_MB = 80
"""Decompressed: beyond the 64 MB that a source reads at most unless its settings say otherwise."""
SMALL_BOMB_MB = 8
"""For a source that can be told to read 1 MB at most."""

STATUSES: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "401": (401, {}),
    "403": (403, {}),
    "404": (404, {}),
    "429": (429, {}),
    "429 with Retry-After": (429, {"retry-after": str(RETRY_AFTER_S)}),
    "500": (500, {}),
    "503": (503, {}),
}
BODIES: Mapping[str, tuple[str, bytes]] = {
    "html": ("text/html; charset=utf-8", b"<!DOCTYPE html><html><body><h1>Sign in to continue</h1></body></html>"),
    "empty body": ("application/json", b""),
    "not json": ("application/json", b'{"result": [}'),
}

UNUSABLE = ("protocol", "upstream")
"""What a body may be called that cannot be used."""

FAULTS: Mapping[str, tuple[str, ...]] = {
    "401": ("auth", "forbidden"),
    "403": ("forbidden", "auth", "plan"),
    "404": ("not_found", "bad_query", "protocol"),
    "429": ("rate_limited",),
    "429 with Retry-After": ("rate_limited",),
    "500": ("upstream",),
    "503": ("upstream",),
    "html": UNUSABLE,
    "empty body": UNUSABLE,
    "not json": UNUSABLE,
    "truncated": UNUSABLE,
    "reset": ("upstream",),
    "refused": ("upstream",),
    "redirect": UNUSABLE,
    "gzip bomb": UNUSABLE,
    "hang": ("timeout",),
    "drip": ("timeout",),
}
"""State -> the kinds of SourceError that tell it rightly."""

SILENT = ("hang", "drip")
"""The states that end by a time-out only."""

ERRORS: Mapping[str, str] = {
    "auth": "AuthError",
    "forbidden": "ForbiddenError",
    "plan": "PlanError",
    "not_found": "NotFoundError",
    "bad_query": "BadQueryError",
    "rate_limited": "RateLimitedError",
    "timeout": "SourceTimeoutError",
    "upstream": "UpstreamError",
    "protocol": "ProtocolError",
}
"""Kind of failure -> the class that stands for it."""


def bomb(body: bytes, megabytes: int = BOMB_MB) -> bytes:
    """`body` and `megabytes` of blanks, as gzip of a thousandth of that: good JSON for whoever reads it all."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    blanks = b" " * 2**20
    return b"".join([packer.compress(body), *(packer.compress(blanks) for _ in range(megabytes)), packer.flush()])
