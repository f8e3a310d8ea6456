"""The services that the label of their names tells, with team and environment where labels tell them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from telemetry_mcp import HttpReply, ProtocolError, Reply, Service, ServiceQuery
from telemetry_mcp_prometheus.query import seconds
from telemetry_mcp_prometheus.wire import MALFORMED, envelope_of, text_map, texts

if TYPE_CHECKING:
    from telemetry_mcp_prometheus.api import Api


async def services(api: Api, query: ServiceQuery) -> Reply[Service]:
    """The names seen in the window, in one request, in order."""
    settings, label = api.settings, api.settings.service_label
    form = {"start": seconds(query.window.start_ms), "end": seconds(query.window.end_ms)}
    detailed = bool(settings.team_label or settings.environment_label)
    if settings.service_metric or detailed:
        form["match[]"] = settings.service_metric or f'{{{label}!=""}}'
    path = "series" if detailed else f"label/{label}/values"
    reply = await api.request("POST" if detailed else "GET", path, form)

    def read() -> Reply[Service]:
        entries, lacking = listed(reply)
        label_sets = entries if detailed else [{label: name} for name in entries]
        return services_of(label_sets, label, settings.team_label, settings.environment_label, lacking)

    found = await api.read(reply, read)
    items = [replace(one, environment=one.environment or settings.environment) for one in found.items]
    return replace(found, items=items)


def listed(reply: HttpReply) -> tuple[list[Any], str | None]:
    """The `data` list of a label or series reply, and why it is not whole."""
    envelope = envelope_of(reply)
    if not isinstance(envelope.get("data"), list):
        raise ProtocolError("the answer holds no list")
    return envelope["data"], "; ".join(texts(envelope.get("warnings"))) or None


def services_of(
    label_sets: Iterable[Any], service: str, team: str | None, environment: str | None, lacking: str | None = None
) -> Reply[Service]:
    """One Service a name, in order of names; its team and environment are the first that a series tells."""
    found: dict[str, Service] = {}
    read = unreadable = 0
    for entry in label_sets:
        try:
            labels = text_map(entry)
        except MALFORMED:
            unreadable += 1
            continue
        read += 1
        name = labels.get(service, "")
        known = found.get(name, Service(name))
        found[name] = Service(
            name,
            team=known.team or labels.get(team or "") or None,
            environment=known.environment or labels.get(environment or "") or None,
        )
    if unreadable and not read:
        raise ProtocolError("no entry of the list is as Prometheus documents it")
    warnings = [f"{unreadable} entries could not be read"] if unreadable else []
    return Reply([found[name] for name in sorted(found) if name], (), warnings, lacking)
