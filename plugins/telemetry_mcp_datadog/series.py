"""Series: which query is sent, and how the answer of either API becomes ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from telemetry_mcp import (
    HttpReply,
    MetricQuery,
    NativeQuery,
    ProtocolError,
    Reply,
    Series,
    SeriesQuery,
    Window,
    gather,
    parse_json,
)
from telemetry_mcp_datadog.line import Line, bucket_ms, from_v1, from_v2, numbers, scaled
from telemetry_mcp_datadog.query import Names, formula_request, render, usable
from telemetry_mcp_datadog.scope import SERIES
from telemetry_mcp_datadog.session import Session
from telemetry_mcp_datadog.wire import complaint, dig, each, limited, listed, refusal, table

LOOK_BACK_MS = 120_000
"""How much earlier a question for the latest value starts, so that a bucket of a minute is complete in it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request is about, and how its answer is to be read. Without a `metric` it is a native query."""

    text: str
    window: Window
    step_ms: int
    metric: str = ""
    unit: str = ""
    tag: str = "service"
    names: Names = field(default_factory=lambda: usable(()))
    latest: bool = False

    @property
    def sent(self) -> Window:
        earlier_ms = LOOK_BACK_MS if self.latest else 0
        return Window(max(0, self.window.start_ms - earlier_ms), self.window.end_ms)


async def fetch(session: Session, query: SeriesQuery) -> Reply[Series]:
    """One request a metric, all at once."""
    known = session.settings.metrics
    wanted = [name for name in query.metrics if name in known]
    return await gather({name: partial(one_metric, session, name, known[name], query) for name in wanted})


async def one_metric(session: Session, name: str, metric: MetricQuery, query: SeriesQuery) -> Reply[Series]:
    names, tag = usable(query.services), session.settings.service_tag
    warnings = [f"no service can be called {refused!r} at Datadog" for refused in names.refused]
    if not names.usable and not names.all:
        return Reply(warnings=warnings)
    sent = render(metric, names, query, tag)
    found = await ask(
        session, Asked(sent, query.window, query.step_ms, name, metric.unit, tag, names, query.latest)
    )
    return Reply(found.items, found.queries, [*warnings, *found.warnings], found.partial)


async def run_native(session: Session, query: NativeQuery) -> Reply[Series]:
    """A metric query as it stands; a series without a service tag is named by its scope."""
    found = await ask(session, Asked(query.text, query.window, query.step_ms, tag=session.settings.service_tag))
    return limited(found, query.limit, "more series")


async def ask(session: Session, asked: Asked) -> Reply[Series]:
    """The answer is decoded and read in the worker thread that fetched it."""
    window = asked.sent
    if session.settings.api == "v2":
        body = formula_request(asked.text, window, asked.step_ms)
        return await session.ask(lambda client: client.timeseries(body), partial(read_v2, asked=asked), SERIES)
    # v1 counts in seconds; the end is rounded up so that the window's last second is in.
    start_s, end_s = window.start_ms // 1000, -(-window.end_ms // 1000)
    return await session.ask(
        lambda client: client.query(start_s, end_s, asked.text), partial(read_v1, asked=asked), SERIES
    )


def read_v1(reply: HttpReply, asked: Asked) -> Reply[Series]:
    """The whole way from the body of GET /api/v1/query to series. An error with status 200 is raised."""
    body = parse_json(reply.body)
    if not isinstance(body, dict) or not isinstance(body.get("series") or [], list):
        raise ProtocolError("the answer to a metric query is not an object with a list of series")
    rows, said = body.get("series") or [], complaint(body)
    if said and not rows:
        raise refusal(said, reply.headers)
    if "series" not in body:
        raise ProtocolError("the answer to a metric query has no list of series")
    return finished(each(rows, from_v1, "series"), asked, said)


def read_v2(reply: HttpReply, asked: Asked) -> Reply[Series]:
    """The whole way from the body of POST /api/v2/query/timeseries to series."""
    body = parse_json(reply.body)
    said, attributes = complaint(body), dig(body, "data", "attributes")
    if said and not attributes:
        raise refusal(said, reply.headers)
    rows, values = table(attributes, "series"), listed(dig(attributes, "values"))
    if len(values) != len(rows):
        raise ProtocolError(f"{len(rows)} series came with {len(values)} lists of values")
    times = numbers(listed(dig(attributes, "times"))).reshape(-1)
    width_ms = bucket_ms(times, asked.step_ms)
    pairs = [{"row": row, "values": own} for row, own in zip(rows, values, strict=True)]
    lines = each(pairs, lambda pair: from_v2(pair["row"], pair["values"], times, width_ms), "series")
    return finished(lines, asked, said)


def finished(lines: Reply[Line], asked: Asked, said: str) -> Reply[Series]:
    """The series that were asked for, in our units, and what is to be said of them."""
    made = [one for one in (series(line, asked) for line in lines.items) if one is not None and len(one)]
    warnings = [*lines.warnings, *coarse(lines.items, asked.step_ms)]
    if asked.metric and not all(service_of(line, asked) for line in lines.items):
        warnings.append(f"{asked.metric}: series without a {asked.tag} tag; group by it in the query")
    return Reply(made, [asked.text], warnings, said or None)


def series(line: Line, asked: Asked) -> Series | None:
    """One line as a Series, in the settings' unit where there is one; None where nobody asked for its service."""
    service = service_of(line, asked)
    if asked.metric:
        known = {name.lower(): name for name in asked.names.usable}
        if not service or not (asked.names.all or service in known):
            return None
        service = known.get(service, service)
    times, values = line.newest(asked.window) if asked.latest else line.inside(asked.window)
    unit, factor = (asked.unit, 1.0) if asked.unit else (line.unit, line.factor)
    labels = {tag: value for tag, value in line.tags.items() if tag != asked.tag}
    metric = asked.metric or line.name or asked.text
    return Series(service or line.scope or "*", metric, times, scaled(values, factor), unit, labels, asked.text)


def service_of(line: Line, asked: Asked) -> str:
    """The service of a line, in lower case where one was asked by name, as Datadog stores tag values."""
    named = line.tags.get(asked.tag, "")
    if asked.names.all:
        return named
    return named.lower() or (asked.names.usable[0].lower() if len(asked.names.usable) == 1 else "")


def coarse(lines: Sequence[Line], step_ms: int) -> list[str]:
    """Datadog chooses the distance of points by the length of the window."""
    widest_ms: float = max((line.width_ms for line in lines), default=0)
    if widest_ms <= step_ms:
        return []
    return [f"a point every {widest_ms / 1000:g} s, not {step_ms / 1000:g} s"]
