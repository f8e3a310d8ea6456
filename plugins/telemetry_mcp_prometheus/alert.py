"""Alerts as incidents of a kind: those that fire now by the API, earlier ones by what their rules have written.

The API knows only what fires at this moment. Every evaluation of a rule also writes the series ALERTS, and
ALERTS_FOR_STATE whose value is the time at which the alert became active: they tell the past.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from telemetry_mcp import Incident, IncidentQuery, Reply, Window, gather, now_ms
from telemetry_mcp_prometheus.query import seconds
from telemetry_mcp_prometheus.rule import Alarm, Rules, alerts_of, rules_of
from telemetry_mcp_prometheus.wire import FAR_S

if TYPE_CHECKING:
    from telemetry_mcp_prometheus.api import Api
    from telemetry_mcp_prometheus.wire import Row

PAST = """(last_over_time(ALERTS_FOR_STATE{matchers}[$__interval])
  and ignoring (alertstate) count_over_time(ALERTS{{alertstate="firing"{more}}}[$__interval]))
or ignoring (alertstate) count_over_time(ALERTS{{alertstate="firing"{more}}}[$__interval])"""
"""For each alert that fired within a step: when it became active, or a small number where nobody wrote that.

By intervals, not by instants, so that no alert is too short to be seen."""

MINUTE_MS = 60_000
MOST_STEPS = 1440
GAP_MS = 5 * MINUTE_MS
"""Without the time of becoming active, a longer pause than this makes two alerts of one."""
SMALLEST_TIME_S = 100_000_000


@dataclass(slots=True)
class Seen:
    """What the three requests found. `now` is None where the API did not tell what fires now."""

    now: list[Alarm] | None = None
    rules: Rules = field(default_factory=Rules)
    past: list[Alarm] = field(default_factory=list)


async def incidents(api: Api, query: IncidentQuery) -> Reply[Incident]:
    """The alerts that fired at some time in the window, newest first."""
    found = await alarms(api, query)
    label = api.settings.service_label
    chosen, remarks = selected(found.items, query, label)
    reasons = [found.partial] if found.partial else []
    if len(chosen) > query.limit:
        reasons.append(f"only the newest {query.limit} of {len(chosen)} alerts are given")
    items = [alarm.incident(label) for alarm in chosen[: query.limit]]
    return Reply(items, found.queries, [*found.warnings, *remarks], "; ".join(reasons) or None)


async def alarms(api: Api, query: IncidentQuery) -> Reply[Alarm]:
    """All of them, whatever their service and status."""
    seen = Seen()
    calls = {"alerts": partial(firing, api, seen), "rules": partial(rules, api, seen)}
    if not query.statuses or "resolved" in query.statuses:
        calls["earlier alerts"] = partial(earlier, api, query, seen)
    told = await gather(calls)
    return Reply(merged(seen, query.window), told.queries, told.warnings, told.partial)


async def firing(api: Api, seen: Seen) -> Reply[Alarm]:
    reply = await api.request("GET", "alerts", {})
    found = await api.read(reply, lambda: alerts_of(reply))
    seen.now = found.alarms
    return Reply(warnings=list(found.remarks()))


async def rules(api: Api, seen: Seen) -> Reply[Alarm]:
    """Which rules cannot be evaluated, and what their alerts are called."""
    reply = await api.request("GET", "rules", {"type": "alert"})
    seen.rules = await api.read(reply, lambda: rules_of(reply))
    return Reply(warnings=list(seen.rules.remarks()))


async def earlier(api: Api, query: IncidentQuery, seen: Seen) -> Reply[Alarm]:
    """What the rules have written in the window; its resolution is the step, a minute or more."""
    window, step_ms = grid(query.window, now_ms())
    service = f'{api.settings.service_label}=~"$service"' if query.services else ""
    promql = PAST.format(matchers=f"{{{service}}}", more=f",{service}" if service else "")
    promql = api.render(promql, window, step_ms, query.services)
    form = {"query": promql, "start": seconds(window.start_ms), "end": seconds(window.end_ms)}
    answer = await api.query("query_range", {**form, "step": seconds(step_ms)})
    seen.past = [alarm for row in answer.rows for alarm in firings(row, window, step_ms)]
    return Reply((), [promql], answer.infos, "; ".join(answer.warnings) or None)


def grid(window: Window, now: int) -> tuple[Window, int]:
    """The instants to ask for: each speaks of the step before it, the last is the window's end, or now."""
    end_ms = max(window.start_ms + 1, min(window.end_ms, now))
    step_ms = MINUTE_MS * -(-(end_ms - window.start_ms) // (MOST_STEPS * MINUTE_MS))
    start_ms = end_ms - (end_ms - window.start_ms - 1) // step_ms * step_ms
    return Window(min(start_ms, end_ms - 1), end_ms), step_ms


def firings(row: Row, window: Window, step_ms: int) -> Iterator[Alarm]:
    """One for each time that the alert of this series fired."""
    labels = {name: text for name, text in row.labels.items() if name not in ("__name__", "alertstate")}
    times, values = row.timestamps_ms, row.values
    told = (values > SMALLEST_TIME_S) & (values < FAR_S)
    anew = np.where(told[1:], np.diff(values) != 0, np.diff(times) > max(GAP_MS, step_ms))
    cuts = (np.flatnonzero(anew) + 1).tolist()
    for first, after in zip([0, *cuts], [*cuts, len(times)], strict=True):
        began_ms = int(values[first] * 1000) if told[first] else int(times[first]) - step_ms
        last_ms = int(times[after - 1])
        open_ended = last_ms > window.end_ms - step_ms
        yield Alarm(labels, max(0, began_ms), last_ms, None if open_ended else last_ms)


def merged(seen: Seen, window: Window) -> list[Alarm]:
    """Those that fire now and those that did, each once; one that fires now bears the API's words."""
    now = list({alarm.key: alarm for alarm in [*seen.rules.alarms, *(seen.now or ())]}.values())
    known = seen.now is not None or bool(seen.rules.alarms)
    past = [settled(alarm, seen, known, window) for alarm in seen.past if not any(map(alarm.continues, now))]
    inside = [alarm for alarm in [*now, *past] if alarm.overlaps(window)]
    return sorted(inside, key=lambda alarm: -alarm.opened_ms)


def settled(alarm: Alarm, seen: Seen, known: bool, window: Window) -> Alarm:
    """An earlier alert with its rule's words. It fires still only where the API did not say what does."""
    annotations = seen.rules.annotations.get(alarm.labels.get("alertname", ""), {})
    if alarm.resolved_ms is None and now_ms() - window.end_ms < GAP_MS:
        if not known:
            return replace(alarm, annotations=annotations, fires=True)
        alarm = replace(alarm, resolved_ms=alarm.last_ms)
    return replace(alarm, annotations=annotations)


def selected(found: Sequence[Alarm], query: IncidentQuery, service_label: str) -> tuple[list[Alarm], list[str]]:
    """The alerts of the services and statuses that were asked for, and what was left out beside them."""
    loud = [alarm for alarm in found if not alarm.is_heartbeat]
    mine = [alarm for alarm in loud if not query.services or alarm.labels.get(service_label) in query.services]
    nameless = sum(service_label not in alarm.labels for alarm in loud) if query.services else 0
    remarks = []
    if len(loud) < len(found):
        remarks.append(f"{len(found) - len(loud)} alerts of severity none left out, such as a watchdog's")
    if nameless:
        remarks.append(f"{nameless} alerts without the label {service_label} left out")
    return [alarm for alarm in mine if not query.statuses or alarm.status in query.statuses], remarks
