"""Whether the tables under `[access]` fit each other, and the rest of the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from telemetry_mcp.access.policy import matches, subject_to
from telemetry_mcp.access.setting import BUILT_IN, FIELDS, AccessSettings, Mask, Patterns
from telemetry_mcp.catalog import suggest


class Misfit(NamedTuple):
    """`table` and `key` say where, `found` what is there, `valid` what might be."""

    table: str
    key: str
    found: str
    valid: str


def misfits(settings: AccessSettings, metrics: Collection[str]) -> Iterator[Misfit]:
    """`metrics` are the names of the catalog."""
    roles = {**BUILT_IN, **settings.roles}
    if settings.oauth is not None:
        for value, names in settings.oauth.roles.items():
            yield from strangers("access.oauth.roles", value, names, roles, "role")
        yield from strangers("access.oauth", "default_roles", settings.oauth.default_roles, roles, "role")
    for name, mask in settings.masks.items():
        table = f"access.masks.{name}"
        yield from strangers(table, "roles", mask.roles, roles, "role")
        yield from strangers(table, "exempt", mask.exempt, roles, "role")
        yield from strangers(table, "metrics", mask.metrics, metrics, "metric")
        yield from strangers(table, "fields", mask.fields, field_names(), "field")
        yield from evaded(table, mask, settings)


def strangers(table: str, key: str, names: Patterns, known: Collection[str], what: str) -> Iterator[Misfit]:
    """The names, and the patterns, that mean nothing that there is."""
    for name in names:
        there = any(matches((name,), each) for each in known)
        if not there:
            yield Misfit(table, key, f"found {name!r}", f"no {what} is called so{suggest(name, known)}")


def field_names() -> list[str]:
    whole = [f"{kind}.{name}" for kind, names in FIELDS.items() for name in names]
    return [*dict.fromkeys(name for names in FIELDS.values() for name in names), *whole]


def evaded(table: str, mask: Mask, settings: AccessSettings) -> Iterator[Misfit]:
    """A query in a source's own language gives its result the name that it likes."""
    for name, role in {**BUILT_IN, **settings.roles}.items():
        if mask.metrics and role.native and subject_to(mask, name):
            yield Misfit(
                table,
                "exempt",
                f"the role {name!r} is not exempt",
                "It may ask in the sources' own languages, which no mask of metrics holds against: "
                f"exempt it, or write [access.roles.{name}] with native = false",
            )
