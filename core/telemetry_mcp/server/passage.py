"""What is known of one HTTP request on its way through the layers. Each of them may hand on a copy of the ASGI
scope; this is the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from anyio import CancelScope

PASSAGE = "telemetry_mcp.passage"
"""Where in an ASGI scope it is."""


@dataclass(slots=True, eq=False)
class Passage:
    """`request` is the whole of it, which may be ended; `since` is when it came, and `until` when a stream that
    answers it must end, by the clock of the event loop; `retry_after_s` is for the answer's Retry-After."""

    request: CancelScope
    since: float
    until: float = inf
    retry_after_s: int | None = None


def passage_of(scope: Mapping[str, Any]) -> Passage | None:
    """None where a request came another way than through our own server."""
    found = scope.get(PASSAGE)
    return found if isinstance(found, Passage) else None
