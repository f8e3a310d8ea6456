"""What goes on beside a fault: alerts of other services that mean nothing, and changes that did no harm."""

from collections.abc import Sequence
from random import Random

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.fault_plan import MINUTE_MS, Alarm, Change, Fault
from telemetry_mcp.demo.topology import MEMBERS, PEOPLE

_NOISE = (
    "disk above 80 %",
    "certificate expires in 20 days",
    "health check failed once",
    "backup took longer than usual",
    "one instance was replaced",
    "clock is 300 ms off",
)
_TURNS = (
    "log level set to info",
    "connection pool raised to 80",
    "certificate renewed",
    "feature flag new-banner switched on",
    "autoscaling maximum raised",
    "maintenance window moved to 04:00",
)


def deployment(service: str, time_ms: int, rng: Random) -> Change:
    """A deployment of `service`; one that does harm looks like any other."""
    number = list(MEMBERS).index(service) + 1
    version = f"v{number}.{41 + rng.randrange(9)}.{rng.randrange(10)}"
    return _change(service, time_ms, f"Deploy {service} {version}", "deployment", version)


def turn(service: str, time_ms: int, rng: Random) -> Change:
    """A change of configuration."""
    return _change(service, time_ms, f"{service}: {rng.choice(_TURNS)}", "config", "")


def innocents(onset_ms: int, page_ms: int, symptom: str, culprit: str | None, rng: Random) -> tuple[Change, ...]:
    """Three to six changes before the page that did no harm, earliest first; one at least in its last hour.

    In every other case one of them is a deployment of the service that the page is about, when that is an
    application; half an hour before the onset or earlier when it is the culprit, too. No other is of the culprit.
    """
    others = [name for name in MEMBERS if name not in (culprit, symptom)]
    times_ms = [onset_ms - rng.randint(60, 20 * 60) * 1000]
    times_ms += [onset_ms - rng.randint(20, 6 * 60) * MINUTE_MS for _ in range(rng.randint(2, 4))]
    if rng.random() < 0.3:
        times_ms.append(rng.randrange(onset_ms // 1000, page_ms // 1000) * 1000)
    found = [_any(rng.choice(others), time_ms, rng) for time_ms in times_ms]
    if MEMBERS[symptom].kind == "app" and rng.random() < 0.5:
        earliest = 30 if symptom == culprit else 5
        found.append(deployment(symptom, onset_ms - rng.randint(earliest, 47) * MINUTE_MS, rng))
    return tuple(sorted(found, key=lambda change: change.time_ms))


def alerts(page_ms: int, quiet: Sequence[str], rng: Random) -> tuple[Fault, ...]:
    """One to three alerts of low urgency, of services in `quiet`, that nothing stands behind; some are over."""
    found = []
    for service in rng.sample(list(quiet), min(len(quiet), rng.randint(1, 3))):
        title = f"{service}: {rng.choice(_NOISE)}"
        start_ms = page_ms - rng.randint(4, 80) * MINUTE_MS
        end_ms = start_ms + rng.randint(6, 30) * MINUTE_MS if rng.random() < 0.5 else None
        alarm = Alarm(service, title, rng.randint(1, 3), rng.randint(2, 15), "P3", "low")
        found.append(Fault(case(service, start_ms), service, title, start_ms, end_ms, None, (), (alarm,)))
    return tuple(found)


def case(service: str, start_ms: int) -> str:
    """The id of a fault, which tells nothing about it."""
    return f"case-{noise.salt(service, start_ms) % 16**8:08x}"


def _any(service: str, time_ms: int, rng: Random) -> Change:
    deployed = MEMBERS[service].kind == "app" and rng.random() < 0.75
    return deployment(service, time_ms, rng) if deployed else turn(service, time_ms, rng)


def _change(service: str, time_ms: int, title: str, kind: str, version: str) -> Change:
    """What is deployed has an id that begins with `deploy-`, as all of the estate's routine has."""
    prefix = "deploy" if kind == "deployment" else "config"
    author = PEOPLE[MEMBERS[service].team].name
    return Change(f"{prefix}-{service}-{time_ms // 1000}", service, time_ms, title, kind, version, author)
