"""What goes wrong in the estate, when, why, and how it spreads along the calls.

A recipe is written relative to its onset; `unfold` puts it on the clock.
"""

from dataclasses import dataclass

MINUTE_MS = 60_000
DAY_MS = 86_400_000
NEVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Change:
    """A deployment or a configuration change of one service at `time_ms`."""

    id: str
    service: str
    time_ms: int
    title: str
    kind: str
    version: str
    author: str


@dataclass(frozen=True, slots=True)
class Effect:
    """One metric of one service out of its course between two instants.

    `size` is added to percentages (in points) and multiplies everything else by 1 + size, in full
    after `rise_ms` and until `fall_ms` before the end. The metric `latency` stands for all three percentiles.
    """

    service: str
    metric: str
    start_ms: int
    end_ms: int
    size: float
    rise_ms: int
    fall_ms: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """What pages somebody because of a fault; `acknowledge_min` counts from the alarm itself."""

    service: str
    title: str
    delay_min: int
    acknowledge_min: int
    priority: str
    urgency: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that went wrong from `start_ms` to `end_ms` (None: it still does).

    `cause` is the change that did it, as its incidents tell it; None: nobody has said so.
    """

    id: str
    service: str
    title: str
    start_ms: int
    end_ms: int | None
    cause: Change | None
    effects: tuple[Effect, ...]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens today: faults with or without effects, and changes whether they do harm or not."""

    faults: tuple[Fault, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Symptom:
    """An effect as a recipe has it: minutes after the onset, and minutes until it shows in full."""

    service: str
    metric: str
    size: float
    delay: int = 0
    rise: int = 3


@dataclass(frozen=True, slots=True)
class Recipe:
    """A fault before it has a date: `at` is the UTC time of day, `lead` the minutes from its cause to it."""

    id: str
    service: str
    title: str
    days_ago: int
    cause: str
    cause_kind: str
    lead: int
    symptoms: tuple[Symptom, ...]
    alarms: tuple[Alarm, ...]
    at: str = "00:00"
    minutes: int = 0
    version: str = ""
    remedy: str = ""
    remedy_version: str = ""


def unfold(recipe: Recipe, onset_ms: int, author: str, *, ends: bool = True) -> Fault:
    """The fault of `recipe` with its onset at `onset_ms`; with `ends=False` it goes on for ever."""
    end_ms = onset_ms + recipe.minutes * MINUTE_MS if ends else NEVER_MS
    cause = Change(
        id=f"change-{recipe.id}",
        service=recipe.service,
        time_ms=onset_ms - recipe.lead * MINUTE_MS,
        title=recipe.cause,
        kind=recipe.cause_kind,
        version=recipe.version,
        author=author,
    )
    effects = tuple(
        Effect(
            symptom.service,
            symptom.metric,
            onset_ms + symptom.delay * MINUTE_MS,
            end_ms,
            symptom.size,
            symptom.rise * MINUTE_MS,
            fall_ms=4 * MINUTE_MS,
        )
        for symptom in recipe.symptoms
    )
    return Fault(
        recipe.id,
        recipe.service,
        recipe.title,
        onset_ms,
        end_ms if ends else None,
        cause,
        effects,
        recipe.alarms,
    )


def remedy(recipe: Recipe, fault: Fault, author: str) -> Change | None:
    """The change which ended `fault` (a rollback, a restart), or None when it ended by itself or goes on."""
    if not recipe.remedy or fault.end_ms is None:
        return None
    return Change(
        id=f"remedy-{recipe.id}",
        service=recipe.service,
        time_ms=fault.end_ms - 5 * MINUTE_MS,
        title=recipe.remedy,
        kind="deployment" if recipe.remedy_version else "config",
        version=recipe.remedy_version,
        author=author,
    )
