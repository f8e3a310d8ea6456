"""list_services: every service of every source, with its vital readings and open incidents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from telemetry_mcp.catalog import echo, suggest
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.model import Incident, Outcome, Series, Service
from telemetry_mcp.question import IncidentQuery, ServiceQuery, Window
from telemetry_mcp.reading import Reading, latest
from telemetry_mcp.server.call import Call, united
from telemetry_mcp.server.current import Health, newest, value_of, worst
from telemetry_mcp.server.envelope import Answer, ExternalText, Number, Shape, envelope, span

VITAL = ("cpu", "memory", "error_rate")
"""Shown by their numbers; the status is of every metric that has a limit."""
OPEN = ("triggered", "acknowledged")
OPEN_SINCE_MS = 7 * 86_400_000
MOST = 200


class ServiceRow(Shape):
    name: ExternalText
    cpu: Number | None
    memory: Number | None
    error_rate: Number | None
    status: Health
    team: ExternalText | None
    environment: ExternalText | None
    sources: list[str]
    open_incidents: int | None


class Services(Answer):
    services: list[ServiceRow]
    total: int


async def answer(call: Call, query: str | None, environment: str | None, team: str | None) -> Services:
    readings_question = newest(call, (), telling(call))
    incidents_window = Window(call.now_ms - OPEN_SINCE_MS, call.now_ms)
    listed, series, incidents = await call.ask_all(
        ServiceQuery(call.recent()), readings_question, IncidentQuery(incidents_window, statuses=OPEN)
    )
    catalog = call.engine.config.catalog
    found, warnings = call.engine.derivations.here(series, "latest", lambda: latest(series, catalog))
    known = with_readings(united(listed), found)
    refuse_unknown(call, known, listed, environment=environment, team=team)
    chosen = matching(known, query, environment, team)
    if len(chosen) > MOST:
        call.warnings.append(f"the first {MOST} of {len(chosen)} services are shown; narrow with query or team")
    readings, sources = by_service(found), having(listed, series)
    rows = [
        row(
            call,
            service,
            readings.get(service.name, {}),
            sources.get(service.name, []),
            count_open(incidents, service.name),
        )
        for service in chosen[:MOST]
    ]
    return Services(
        services=rows,
        total=len(chosen),
        window=span(readings_question.window),
        **envelope(listed, series, incidents, more=(*call.warnings, *warnings)),
    )


def with_readings(services: Sequence[Service], readings: Sequence[Reading]) -> list[Service]:
    """Services that are listed, and those that no source lists but some source has numbers of."""
    listed = {service.name for service in services}
    unlisted = {reading.service for reading in readings} - listed
    return sorted([*services, *(Service(name) for name in unlisted)], key=lambda service: service.name)


def telling(call: Call) -> tuple[str, ...]:
    """The metrics that a service's row is made of."""
    catalog = call.engine.config.catalog
    return tuple(metric for metric in call.engine.metrics if metric in VITAL or catalog[metric].limited)


def refuse_unknown(
    call: Call, services: Sequence[Service], listed: Sequence[Outcome[Service]], **wanted: str | None
) -> None:
    """QuestionError for an environment or team that no service has; a warning where the list is not complete."""
    lacking = [outcome.source for outcome in listed if outcome.status in ("failed", "partial")]
    for name, value in wanted.items():
        valid = {known for service in services if (known := getattr(service, name))}
        if not value or not services or value in valid:
            continue
        sentence = f"no service has the {name} {echo(value)}{suggest(value, valid)}"
        if not lacking:
            raise QuestionError(sentence)
        call.warnings.append(f"the list of {', '.join(lacking)} could not be had; of the others, {sentence}")


def matching(
    services: Sequence[Service], query: str | None, environment: str | None, team: str | None
) -> list[Service]:
    return [
        service
        for service in services
        if (not query or query.lower() in service.name.lower())
        and (not environment or service.environment == environment)
        and (not team or service.team == team)
    ]


def by_service(found: Sequence[Reading]) -> dict[str, dict[str, Reading]]:
    """Service -> metric -> reading."""
    grouped: dict[str, dict[str, Reading]] = {}
    for reading in found:
        grouped.setdefault(reading.service, {})[reading.metric] = reading
    return grouped


def having(listed: Sequence[Outcome[Service]], series: Sequence[Outcome[Series]]) -> dict[str, list[str]]:
    """Service -> the sources that list it or have numbers of it, in the order of the ledger."""
    known = [(item.name, outcome.source) for outcome in listed for item in outcome.reply.items]
    known += [(item.service, outcome.source) for outcome in series for item in outcome.reply.items]
    found: dict[str, list[str]] = {}
    for service, source in dict.fromkeys(known):
        found.setdefault(service, []).append(source)
    return found


def row(
    call: Call, service: Service, own: Mapping[str, Reading], sources: list[str], open_incidents: int | None
) -> ServiceRow:
    states = [call.engine.config.catalog[metric].status(reading.value) for metric, reading in own.items()]
    return ServiceRow(
        name=service.name,
        cpu=value_of(own.get("cpu")),
        memory=value_of(own.get("memory")),
        error_rate=value_of(own.get("error_rate")),
        status=worst(states),
        team=service.team,
        environment=service.environment,
        sources=sources,
        open_incidents=open_incidents,
    )


def count_open(outcomes: Sequence[Outcome[Incident]], service: str) -> int | None:
    """How many incidents, or alerts, of the service are open. Several sources tell of one and the same, so it is
    the most that any one of them has. None where nobody has any and not everybody could say: that is no 0."""
    asked = [outcome for outcome in outcomes if outcome.status != "skipped"]
    counts = Counter(
        (outcome.source, incident.kind)
        for outcome in asked
        for incident in outcome.reply.items
        if incident.service == service
    )
    complete = bool(asked) and all(outcome.status in ("ok", "no_data") for outcome in asked)
    return max(counts.values(), default=0 if complete else None)
