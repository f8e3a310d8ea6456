"""list_sources: how every configured source stands, and what to do about one that does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from telemetry_mcp.access.redaction import redact
from telemetry_mcp.engine import Engine
from telemetry_mcp.model import Failure
from telemetry_mcp.quota import Quota
from telemetry_mcp.registry import Absent, Instance
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import ExternalText, Number, Shape, rounded
from telemetry_mcp.source import METHODS
from telemetry_mcp.text import clean

Status = Literal["ready", "failing", "backing_off", "breaker_open", "off", "broken"]
LONGEST_REASON = 600


class Breaker(Shape):
    state: Literal["closed", "open", "half_open"]
    failures: int
    retry_in_s: Number | None


class SourceRow(Shape):
    name: str
    plugin: str
    status: Status
    capabilities: list[str]
    metrics: list[str] | None
    native: str | None
    timeout_s: Number | None
    breaker: Breaker | None
    backing_off_s: Number | None
    quota: ExternalText | None
    abandoned_threads: int
    reason: ExternalText | None
    fix: ExternalText | None


class Sources(Shape):
    sources: list[SourceRow]
    ready: int
    total: int


def answer(call: Call) -> Sources:
    rows = [present(instance, call.engine) for instance in call.engine.registry.instances]
    rows += [left_out(absent) for absent in call.engine.registry.absent]
    return Sources(sources=rows, ready=sum(row.status == "ready" for row in rows), total=len(rows))


def present(instance: Instance, engine: Engine) -> SourceRow:
    guard, settings = instance.guard, instance.source.settings
    offered = instance.offered
    native = instance.source.native_language if "native" in instance.capabilities else None
    status, reason, fix = standing(instance) if engine.whole else outline(instance)
    return SourceRow(
        name=instance.name,
        plugin=instance.plugin,
        status=status,
        capabilities=list(instance.capabilities),
        metrics=sorted(name for name in offered if name in engine.config.catalog) if offered is not None else None,
        native=native if native and settings.allow_native and engine.native(instance.name) else None,
        timeout_s=rounded(guard.timeout_s),
        breaker=Breaker(
            state=guard.breaker.state,
            failures=guard.breaker.failures,
            retry_in_s=rounded(guard.breaker.wait_s) if guard.breaker.state != "closed" else None,
        ),
        backing_off_s=rounded(guard.pause.wait_s) if guard.pause.wait_s > 0 else None,
        quota=quotas(instance),
        abandoned_threads=instance.source.context.threads.abandoned,
        reason=redact(reason) if reason and engine.config.access.detect else reason,
        fix=fix,
    )


def outline(instance: Instance) -> tuple[Status, str | None, str | None]:
    """How it stands without a word of what other callers asked."""
    status = standing(instance)[0]
    kinds = {name: trouble.kind for name, trouble in troubles_of(instance).items()}
    said = "; ".join(f"{capability}: {kind}" for capability, kind in kinds.items())
    waiting = {"breaker_open": "not asked after failures in a row", "backing_off": "it asked to be left alone"}
    reason = waiting.get(status, said) or None
    return status, reason, "ask whoever runs this server" if reason else None


def troubles_of(instance: Instance) -> Mapping[str, Failure]:
    """By capability."""
    capability = {method: name for name, method in METHODS.items()}
    return {capability[method]: trouble for method, trouble in instance.guard.troubles.items()}


def standing(instance: Instance) -> tuple[Status, str | None, str | None]:
    guard = instance.guard
    in_a_row = f"{guard.breaker.failures} failures in a row"
    if guard.breaker.state != "closed":
        return (
            "breaker_open",
            f"{in_a_row}; next probe in {guard.breaker.wait_s:.0f} s",
            "look at the source itself (`telemetry-mcp doctor`); the breaker closes by itself",
        )
    if guard.pause.wait_s > 0:
        return (
            "backing_off",
            f"asked again in {guard.pause.wait_s:.0f} s, after {clean(instance.redact(guard.pause.words))}",
            "wait, or ask less often",
        )
    if guard.troubles:
        return troubled(troubles_of(instance))
    return "ready", None, None


def troubled(troubles: Mapping[str, Failure]) -> tuple[Status, str, str]:
    """What it last failed by, or lacked, each capability by name; one failure is enough not to be ready."""
    said = [f"{capability}: {trouble.message}" for capability, trouble in troubles.items()]
    failures = [trouble for trouble in troubles.values() if trouble.kind != "partial"]
    worst = (failures or list(troubles.values()))[0]
    return "failing" if failures else "ready", clean("; ".join(said), LONGEST_REASON), worst.hint


def quotas(instance: Instance) -> str | None:
    """The quota that is ours, then what the backend says of its own."""
    allowance = instance.guard.allowance
    told = (allowance.told() if allowance is not None else None, scarcest(instance.source.context.quota))
    return "; ".join(each for each in told if each) or None


def scarcest(quota: Quota) -> str | None:
    """What is left of the limit that will be used up first, as the backend last told it."""
    limits = quota.left()
    if not limits:
        return None
    limit = limits[0]
    of = "" if limit.limit is None else f" of {limit.limit}"
    return f"{limit.name}: {limit.remaining}{of} left, reset in {limit.resets_at - quota.clock():.0f} s"


def left_out(absent: Absent) -> SourceRow:
    return SourceRow(
        name=absent.name,
        plugin=absent.plugin,
        status="broken" if absent.broken else "off",
        capabilities=[],
        metrics=None,
        native=None,
        timeout_s=None,
        breaker=None,
        backing_off_s=None,
        quota=None,
        abandoned_threads=0,
        reason=absent.reason,
        fix=absent.fix,
    )
