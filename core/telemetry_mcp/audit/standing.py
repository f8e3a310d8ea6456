"""How the audit stands: for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SinkStanding:
    """`waiting` and `waiting_bytes` are what it has not got yet; the others count since the start."""

    waiting: int
    waiting_bytes: int
    delivered: int
    dropped: int
    failures: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """`fault` is why the journal cannot be written now; `pending` records wait in memory for it. `lost` are those
    that were too many to wait."""

    active: bool
    required: bool
    fault: str | None
    recorded: int
    pending: int
    lost: int
    spool_bytes: int
    sinks: Mapping[str, SinkStanding]
