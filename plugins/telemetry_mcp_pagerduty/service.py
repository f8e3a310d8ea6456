"""PagerDuty's services: the list of them, and a directory of their ids, names and escalation policies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cachetools import TTLCache

from telemetry_mcp import Reply, Service, SourceError, gather
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import Api, Listing

STATUS = {"active": "OK", "warning": "WARNING", "critical": "CRITICAL"}
ONE_BY_ONE = 10
"""Up to so many services are looked up by a request each; beyond it, the whole list is read."""
KEPT_S = 600.0


@dataclass(frozen=True, slots=True)
class Known:
    """What PagerDuty calls a service, and the escalation policy that pages for it."""

    id: str
    name: str
    policy: str = ""


async def find(api: Api) -> Reply[Service]:
    """Every service. `status` is OK, WARNING (acknowledged), CRITICAL (triggered), MAINTENANCE or DISABLED."""
    return await api.listed(Listing("/services", "services", service), {"sort_by": "name"})


def service(entry: Mapping[str, Any]) -> Service | None:
    name = text_name(entry)
    if not name:
        return None
    teams = wire.mappings(entry.get("teams"))
    status = wire.text(entry.get("status"))
    return Service(
        name,
        team=wire.summary(teams[0]) if teams else None,
        status=STATUS.get(status, status.upper()) or None,
        url=wire.link(entry),
    )


def known(entry: Mapping[str, Any]) -> Known | None:
    name, identity = text_name(entry), wire.identity(entry)
    return Known(identity, name, wire.identity(entry.get("escalation_policy"))) if name and identity else None


def text_name(entry: Mapping[str, Any]) -> str:
    return wire.text(entry.get("name")) or wire.text(entry.get("summary"))


class Directory:
    """Services by name and by id, kept for some minutes."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.by_name: TTLCache[str, Known] = TTLCache(4096, KEPT_S)
        self.by_id: TTLCache[str, Known] = TTLCache(4096, KEPT_S)

    async def named(self, names: Sequence[str]) -> Reply[Known]:
        """The services of these names; those that PagerDuty has not are named in a warning."""
        missing = [name for name in dict.fromkeys(names) if name not in self.by_name]
        looked: Reply[Known] = Reply()
        if len(missing) > ONE_BY_ONE:
            looked = await self.all()
        elif missing:
            looked = await gather({f"service {name}": partial(self.search, name) for name in missing})
        found = {item.name: item for item in looked.items if item.name in missing}
        found |= {name: self.by_name[name] for name in names if name in self.by_name}
        warnings = [*looked.warnings]
        if unknown := [name for name in dict.fromkeys(names) if name not in found]:
            warnings.append(f"PagerDuty has no service named {', '.join(unknown[:ONE_BY_ONE])}")
        items = [found[name] for name in dict.fromkeys(names) if name in found]
        return Reply(items, looked.queries, warnings, looked.partial)

    async def names(self, ids: Iterable[str]) -> dict[str, str]:
        """The names of these services. What cannot be looked up within a few requests is left out."""
        wanted = {identity for identity in ids if identity}
        missing = sorted(identity for identity in wanted if identity not in self.by_id)[:ONE_BY_ONE]
        calls: dict[str, Callable[[], Awaitable[Reply[Known]]]] = {
            identity: partial(self.one, identity) for identity in missing
        }
        if calls:
            await gather(calls)
        return {identity: self.by_id[identity].name for identity in wanted if identity in self.by_id}

    async def all(self) -> Reply[Known]:
        """Every service, as far as the list is given."""
        return self.keep(await self.api.listed(Listing("/services", "services", known), {"sort_by": "name"}))

    async def search(self, name: str) -> Reply[Known]:
        """PagerDuty's own search finds every name that contains the text."""
        return self.keep(await self.api.listed(Listing("/services", "services", known), {"query": name}))

    async def one(self, identity: str) -> Reply[Known]:
        """A service by its id; none where it is gone or must not be seen, since only its name is wanted."""
        if not identity.isalnum():
            return Reply()
        path = f"/services/{identity}"
        try:
            found = known(wire.mapping((await self.api.ask(path)).get("service")))
        except SourceError as error:
            if error.counts:
                raise
            return Reply()
        return self.keep(Reply([found] if found else [], [path]))

    def keep(self, reply: Reply[Known]) -> Reply[Known]:
        for item in reply.items:
            self.by_name[item.name] = self.by_id[item.id] = item
        return reply
