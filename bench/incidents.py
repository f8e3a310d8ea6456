"""The seeded incidents of the demo estate, investigated over the wire: who is first, since when, how long it took.

In a quarter of the forty a source is down; twenty more are false alarms, in which nobody should be named.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from statistics import mean, median
from time import perf_counter

import anyio
from figure import Figure

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG
from telemetry_mcp.demo.scenario import Scenario, opened, quiet, scenario
from telemetry_mcp.engine import opened as engine_over
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.server import incidents
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.investigation import answer as investigation
from telemetry_mcp.server.investigation.shape import Investigation

INCIDENTS, QUIET = 40, 20
STEP_MS = 60_000
NEAR_MS = 300_000


@dataclass(frozen=True, slots=True)
class Found:
    """One scenario, what came of it, how long that took, and how long the slowest source took of it."""

    played: Scenario
    answer: Investigation
    took_s: float
    slowest_s: float

    @property
    def named(self) -> list[str]:
        return [suspect.service for suspect in self.answer.suspects]

    @property
    def dated(self) -> bool:
        """Whether the culprit's onset is right within two steps."""
        own = next((each for each in self.answer.suspects if each.service == self.played.culprit), None)
        if own is None or own.onset is None or self.played.onset_ms is None:
            return False
        return abs(milliseconds(own.onset) - self.played.onset_ms) <= 2 * STEP_MS


def milliseconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


async def investigated(played: Scenario) -> Found:
    with opened(played) as world:
        config = read(CONFIG, {**os.environ, **world.environ})
        async with engine_over(config, clock_ms=lambda: played.now_ms) as engine:
            listed = await incidents.answer(Call(engine, Deadline(10)), None, "all", "1d")
            paged = next(
                told.removeprefix("pagerduty: ")
                for row in listed.incidents
                if abs(milliseconds(row.opened) - played.page_ms) < NEAR_MS and row.service == played.page.service
                for told in (f"{row.source}: {row.id}", *row.also)
                if told.startswith("pagerduty: ")
            )
            started = perf_counter()
            found = await investigation.answer(Call(engine, Deadline(10)), paged, None, None, None, None, None)
            took_s = perf_counter() - started
        slowest_ms = max((line.latency_ms or 0 for line in found.sources), default=0)
        return Found(played, found, took_s, slowest_ms / 1000)


async def all_of_them() -> tuple[list[Found], list[Found]]:
    found = [await investigated(scenario(seed)) for seed in range(INCIDENTS)]
    return found, [await investigated(quiet(seed)) for seed in range(QUIET)]


def measure() -> list[Figure]:
    found, calm = anyio.run(all_of_them)
    first = mean(each.named[:1] == [each.played.culprit] for each in found)
    three = mean(each.played.culprit in each.named[:3] for each in found)
    took = median(each.took_s for each in found)
    limit = median(1.3 * each.slowest_s + 0.5 for each in found)
    return [
        Figure(f"{INCIDENTS} incidents of the demo estate: culprit first", first, "", 0.9, relation=">="),
        Figure("culprit in the first three", three, "", 1.0, relation=">="),
        Figure("onset within two steps", mean(each.dated for each in found), "", 0.9, relation=">="),
        Figure(
            f"{QUIET} false alarms: nobody named", mean(not each.named for each in calm), "", 0.95, relation=">="
        ),
        Figure("a whole investigation", took, "s", 1.0, limit, "1.3 x slowest source + 0.5 s"),
    ]
