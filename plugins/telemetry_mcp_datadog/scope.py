"""The permissions of an application key: the one table of what each is good for."""

from __future__ import annotations

from dataclasses import dataclass

from telemetry_mcp import AuthError, ForbiddenError, SourceError


@dataclass(frozen=True, slots=True)
class Scope:
    """A permission by Datadog's name. What is `optional` belongs to a product that not every account has."""

    name: str
    enables: str
    optional: bool = False


SERIES = Scope("timeseries_query", "series of metrics")
APM = Scope("apm_read", "services that APM sees")
CATALOG = Scope("apm_service_catalog_read", "services of the software catalog and their dependencies")
TAGS = Scope("metrics_read", "services by the tags of a metric")
INCIDENTS = Scope("incident_read", "incidents", optional=True)
MONITORS = Scope("monitors_read", "alerts: the groups of monitors that fire")
EVENTS = Scope("events_read", "changes: events")
DORA = Scope("dora_metrics_read", "changes: deployments known to DORA metrics", optional=True)
SLOS = Scope("slos_read", "service level objectives and how they stand")


def named(error: SourceError, scope: Scope | None) -> SourceError:
    """A refusal that names what is missing: Datadog gives 401 or 403 to keys and scopes alike, mostly wordless."""
    if not isinstance(error, AuthError | ForbiddenError):
        return error
    if scope is None:
        return type(error)(f"{error}; the API key was refused", hint="check api_key, and that site is right")
    return type(error)(
        f"{error}; the application key may lack the scope {scope.name}",
        hint=f"give the application key the scope {scope.name}; if it has it, check api_key, app_key and site",
    )
