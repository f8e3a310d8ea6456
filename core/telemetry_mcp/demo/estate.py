"""The simulated estate: eight services whose every value is a pure function of seed, anchor, name and time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.fault_plan import DAY_MS, MINUTE_MS, Change, Effect, Fault, Plan, Recipe, remedy, unfold
from telemetry_mcp.demo.recipe import EARLIER, NOW, YESTERDAY
from telemetry_mcp.demo.topology import MEMBERS, PEOPLE, Member

STEP_MS = 15_000
METRICS = (
    *("cpu", "memory", "error_rate", "request_rate"),
    *("latency_p50", "latency_p95", "latency_p99", "availability"),
)
_HISTORY_DAYS = 60
_ONGOING_MIN = 40
_PERCENT = {"cpu", "memory", "error_rate"}
# How far each percentile lies above the median, and how much of a slowness reaches it.
_TAIL = {"latency_p50": (1.0, 0.45), "latency_p95": (3.1, 1.0), "latency_p99": (5.6, 1.15)}
# Share of the weekday load, Thursday first because the epoch began on one.
_WEEK = (1.0, 0.97, 0.72, 0.68, 0.98, 1.02, 1.03)
_MOST_SAMPLES = 6_000


@dataclass(frozen=True, slots=True)
class Incident:
    """What a fault made somebody's telephone ring for. Times are epoch ms; None: it has not come to that.

    Without a `cause` nobody has named one.
    """

    id: str
    number: int
    service: str
    title: str
    priority: str
    urgency: str
    created_ms: int
    acknowledged_ms: int
    resolved_ms: int | None
    assignee: str
    fault_id: str
    cause: Change | None

    def status(self, now_ms: int) -> Literal["triggered", "acknowledged", "resolved"]:
        """Where the incident stands at `now_ms`."""
        if self.resolved_ms is not None and now_ms >= self.resolved_ms:
            return "resolved"
        return "acknowledged" if now_ms >= self.acknowledged_ms else "triggered"


class Estate:
    """Values, faults, changes and incidents of the eight services.

    `anchor_ms` is 00:00 UTC of the day that counts as today, `now_ms` the instant before which the ongoing
    problem began (noon of that day when it is not given). Two estates of the same three numbers agree on all.
    With a `plan`, that is what happens today instead of the ongoing problem; what happened before stays.
    """

    def __init__(
        self, anchor_ms: int, *, now_ms: int | None = None, seed: int = 7, plan: Plan | None = None
    ) -> None:
        self.seed = seed
        self.anchor_ms = anchor_ms
        self.now_ms = anchor_ms + DAY_MS // 2 if now_ms is None else now_ms
        self.start_ms = anchor_ms - _HISTORY_DAYS * DAY_MS
        self.members = MEMBERS
        self._faults, self._changes = self._schedule(plan)
        self._incidents = self._page()
        self._effects: dict[tuple[str, str], list[Effect]] = {}
        for fault in self._faults:
            for effect in fault.effects:
                self._effects.setdefault((effect.service, effect.metric), []).append(effect)

    @classmethod
    def today(cls, now_ms: int, seed: int = 7) -> Self:
        """The estate whose today is the UTC day of `now_ms`."""
        return cls(now_ms // DAY_MS * DAY_MS, now_ms=now_ms, seed=seed)

    def values(self, service: str, metric: str, timestamps_ms: NDArray[np.int64]) -> NDArray[np.float64]:
        """One value for each timestamp: percent, requests a second, or ms. Raises KeyError for a strange name.

        Within one step of 15 s the value stays the same; any other choice of timestamps gives the same values.
        """
        member = MEMBERS[service]
        steps = timestamps_ms // STEP_MS
        times = steps * STEP_MS
        if metric == "availability":
            return 100.0 - self.values(service, "error_rate", timestamps_ms)
        quiet = self._quiet(member, metric, steps, times)
        if metric in _PERCENT:
            return np.clip(quiet + self._force(service, metric, times), 0.0, 100.0)
        if metric in _TAIL:
            return quiet * (1 + self._force(service, "latency", times) * _TAIL[metric][1])
        return quiet * (1 + self._force(service, metric, times))

    def average(
        self, service: str, metric: str, starts_ms: NDArray[np.int64], width_ms: int
    ) -> NDArray[np.float64]:
        """The mean over each interval [start, start + width), weighted by requests where requests are counted."""
        slices = max(1, min(width_ms // STEP_MS, _MOST_SAMPLES // max(1, len(starts_ms))))
        inside = ((np.arange(slices) + 0.5) * (width_ms / slices)).astype(np.int64)
        samples = (starts_ms[:, None] + inside).ravel()
        shape = (len(starts_ms), slices)
        values = self.values(service, metric, samples).reshape(shape)
        if metric in ("cpu", "memory", "request_rate"):
            return np.asarray(values.mean(axis=1))
        weights = self.values(service, "request_rate", samples).reshape(shape)
        return np.asarray((values * weights).sum(axis=1) / weights.sum(axis=1))

    def faults(self, start_ms: int, end_ms: int) -> list[Fault]:
        """The faults which were going on at some instant of [start, end), earliest first."""
        return [
            fault
            for fault in self._faults
            if fault.start_ms < end_ms and (fault.end_ms is None or fault.end_ms > start_ms)
        ]

    def changes(self, start_ms: int, end_ms: int) -> list[Change]:
        """Deployments and configuration changes in [start, end), earliest first."""
        return [change for change in self._changes if start_ms <= change.time_ms < end_ms]

    def incidents(self, start_ms: int, end_ms: int) -> list[Incident]:
        """The incidents opened in [start, end), earliest first."""
        return [incident for incident in self._incidents if start_ms <= incident.created_ms < end_ms]

    def _quiet(
        self, member: Member, metric: str, steps: NDArray[np.int64], times: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        key = noise.salt(self.seed, member.name, metric)
        jitter = noise.normal(steps, key)
        drift = noise.wander(times, 30 * MINUTE_MS, key + 1)
        if metric == "error_rate":
            return np.asarray(member.error_rate * np.exp(0.18 * jitter + 0.06 * drift))
        if metric == "memory":
            slow = noise.wander(times, 8 * 60 * MINUTE_MS, key + 2)
            return member.memory + 0.3 * jitter + 1.6 * slow
        load = _load(times)
        if metric == "cpu":
            return member.cpu * (0.6 + 0.4 * load) * (1 + 0.03 * jitter + 0.02 * drift)
        if metric == "request_rate":
            return member.request_rate * load * (1 + 0.035 * jitter + 0.02 * drift)
        tail = _TAIL[metric][0]
        return member.latency_p50 * tail * (0.85 + 0.15 * load) * (1 + 0.04 * jitter + 0.02 * drift)

    def _force(self, service: str, metric: str, times: NDArray[np.int64]) -> NDArray[np.float64]:
        total = np.zeros(len(times))
        for effect in self._effects.get((service, metric), ()):
            rise = (times - effect.start_ms) / effect.rise_ms
            fall = (effect.end_ms - times) / effect.fall_ms
            total += effect.size * np.clip(np.minimum(rise, fall), 0.0, 1.0)
        return total

    def _schedule(self, plan: Plan | None) -> tuple[list[Fault], list[Change]]:
        onsets: list[tuple[Recipe, int]] = [(recipe, self._onset(recipe, moves=True)) for recipe in EARLIER]
        onsets.append((YESTERDAY, self._onset(YESTERDAY, moves=False)))
        faults: list[Fault] = []
        changes = self._routine()
        if plan is None:
            onsets.append((NOW, (self.now_ms // MINUTE_MS - _ONGOING_MIN) * MINUTE_MS))
        else:
            faults += plan.faults
            changes += plan.changes
        for recipe, onset_ms in onsets:
            author = PEOPLE[MEMBERS[recipe.service].team].name
            fault = unfold(recipe, onset_ms, author, ends=recipe is not NOW)
            end = remedy(recipe, fault, author)
            faults.append(fault)
            changes += [change for change in (fault.cause, end) if change]
        return (
            sorted(faults, key=lambda fault: fault.start_ms),
            sorted(changes, key=lambda change: change.time_ms),
        )

    def _onset(self, recipe: Recipe, *, moves: bool) -> int:
        time = datetime.strptime(recipe.at, "%H:%M").replace(tzinfo=UTC)
        shift = noise.salt(self.seed, recipe.id) % 41 - 20 if moves else 0
        minute = time.hour * 60 + time.minute + shift
        return self.anchor_ms - recipe.days_ago * DAY_MS + minute * MINUTE_MS

    def _routine(self) -> list[Change]:
        """The harmless deployments, about one a week for each application, so that a cause has to be found."""
        changes = []
        for number, member in enumerate(m for m in MEMBERS.values() if m.kind == "app"):
            for week in range(8):
                draw = noise.salt(self.seed, "routine", member.name, week)
                day = 3 + number + 7 * week
                version = f"v{number + 1}.{40 - week}.{draw % 5}"
                changes.append(
                    Change(
                        id=f"deploy-{member.name}-{40 - week}",
                        service=member.name,
                        time_ms=self.anchor_ms - day * DAY_MS + (480 + draw % 360) * MINUTE_MS,
                        title=f"Deploy {member.name} {version}",
                        kind="deployment",
                        version=version,
                        author=PEOPLE[member.team].name,
                    )
                )
        return changes

    def _page(self) -> list[Incident]:
        alarms = sorted(
            (
                (fault.start_ms + alarm.delay_min * MINUTE_MS, fault, alarm)
                for fault in self._faults
                for alarm in fault.alarms
            ),
            key=lambda entry: entry[0],
        )
        return [
            Incident(
                id=f"{fault.id}-{alarm.service}",
                number=number,
                service=alarm.service,
                title=alarm.title,
                priority=alarm.priority,
                urgency=alarm.urgency,
                created_ms=created_ms,
                acknowledged_ms=created_ms + alarm.acknowledge_min * MINUTE_MS,
                resolved_ms=None if fault.end_ms is None else fault.end_ms + 6 * MINUTE_MS,
                assignee=PEOPLE[MEMBERS[alarm.service].team].name,
                fault_id=fault.id,
                cause=fault.cause,
            )
            for number, (created_ms, fault, alarm) in enumerate(alarms, start=4101)
        ]


def _load(times: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rhythm of the day (busiest at 14:00 UTC) and of the week, 1 on an average weekday."""
    days = times / DAY_MS
    angle = 2 * np.pi * (days - 14 / 24)
    day = 1 + 0.34 * np.cos(angle) + 0.07 * np.cos(2 * angle)
    week = np.interp(days - 0.5, np.arange(7), _WEEK, period=7)
    return np.asarray(day * week)
