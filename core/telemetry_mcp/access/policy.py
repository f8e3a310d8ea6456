"""The one question of access: may this caller see this? Asked by tools, resources, subscriptions, completion and
lists alike, so that what one may not see does not exist."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from telemetry_mcp.access.setting import BUILT_IN, AccessSettings, Mask, Patterns, Role

NATIVE_TOOL = "query_source"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sources say of one service: its teams and environments, each as far as any is known."""

    teams: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()


UNKNOWN = Facts()


@dataclass(frozen=True)
class Scope:
    """What several roles let see together. Each of them is whole by itself: what one of them lets through may be
    seen, but a service of one and a source of another are no pair."""

    roles: tuple[Role, ...]
    names: tuple[str, ...] = ()
    """Those of `roles`, in their order."""

    def may_see(self, *, source: str | None = None, service: str | None = None, facts: Facts = UNKNOWN) -> bool:
        """Whether some role lets `service` be seen, at `source`. Without a source: at any; without a service: what
        belongs to no service, which takes a role that sees all of them."""
        return any(sees(role, source, service, facts) for role in self.roles)

    def may_see_source(self, source: str) -> bool:
        return any(matches(role.sources, source) for role in self.roles)

    def may_ask_natively(self, source: str) -> bool:
        return any(role.native and matches(role.sources, source) for role in self.roles)

    def unmasked(self, mask: Mask, source: str, services: Sequence[str | None], facts: Sequence[Facts]) -> bool:
        """Whether one of the roles that let a thing of these services be seen is not subject to the mask."""
        return any(
            not subject_to(mask, name)
            and matches(role.sources, source)
            and all(sees(role, source, service, own) for service, own in zip(services, facts, strict=True))
            for role, name in zip(self.roles, self.names, strict=True)
        )

    @cached_property
    def whole(self) -> bool:
        """Whether there is nothing that it hides."""
        return any(everything(role) and set(role.sources) >= {"*"} for role in self.roles)

    @property
    def needs_facts(self) -> bool:
        """Whether it takes more than a service's name to decide."""
        return any(not (is_all(role.teams) and is_all(role.environments)) for role in self.roles)

    @property
    def lookback_s(self) -> float | None:
        """How far back the roles reach; None: as far as everybody."""
        limits = [role.lookback for role in self.roles]
        return None if None in limits else max((limit for limit in limits if limit), default=0.0)


class Policy:
    """The roles of one configuration, and its masks."""

    def __init__(self, settings: AccessSettings) -> None:
        self.roles: Mapping[str, Role] = {**BUILT_IN, **settings.roles}
        self.rules = settings.masks

    def roles_for(self, roles: Iterable[str], tool: str) -> frozenset[str]:
        """Those of the roles that have the tool. None: for this caller there is no such tool."""
        known = {name: self.roles[name] for name in roles if name in self.roles}
        return frozenset(name for name, role in known.items() if matches(role.tools, tool))

    def scope(self, roles: Collection[str]) -> Scope:
        names = tuple(sorted({name for name in roles if name in self.roles}))
        return Scope(tuple(self.roles[name] for name in names), names)

    def masks(self, scope: Scope) -> Mapping[str, Mask]:
        """Those that one of the roles at least is subject to."""
        return {n: mask for n, mask in self.rules.items() if any(subject_to(mask, role) for role in scope.names)}


def subject_to(mask: Mask, role: str) -> bool:
    return matches(mask.roles, role) and not matches(mask.exempt, role)


def matches(patterns: Patterns, name: str) -> bool:
    return compiled(patterns).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def compiled(patterns: Patterns) -> re.Pattern[str]:
    """Upper and lower case differ, as in the names themselves; nothing but `*` and `?` has a meaning."""
    written = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return re.compile("|".join(written) if written else r"(?!)", re.DOTALL)


def is_all(patterns: Patterns) -> bool:
    return "*" in patterns


def everything(role: Role) -> bool:
    return is_all(role.services) and is_all(role.teams) and is_all(role.environments)


def sees(role: Role, source: str | None, service: str | None, facts: Facts) -> bool:
    if source is not None and not matches(role.sources, source):
        return False
    if not service:
        return everything(role)
    return (
        matches(role.services, service)
        and within(role.teams, facts.teams)
        and within(role.environments, facts.environments)
    )


def within(patterns: Patterns, said: Collection[str]) -> bool:
    """Where sources differ on a service, each of the teams or environments that they name must be allowed."""
    return is_all(patterns) or (bool(said) and all(matches(patterns, each) for each in said))
