"""What is known of one HTTP request on its way through the layers. Each of them may hand on a copy of the ASGI
scope; this is the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CancelScope

PASSAGE = "telemetry_mcp.passage"
"""Where in an ASGI scope it is."""


@dataclass(slots=True, eq=False)
class Passage:
    """`request` is the whole of it, which may be given an end; `since` is when it came, by the clock of the event
    loop; `retry_after_s` is what the answer's Retry-After is to say."""

    request: CancelScope
    since: float
    retry_after_s: int | None = None


def passage_of(scope: Mapping[str, Any]) -> Passage | None:
    """None where a request came another way than through our own server."""
    found = scope.get(PASSAGE)
    return found if isinstance(found, Passage) else None
