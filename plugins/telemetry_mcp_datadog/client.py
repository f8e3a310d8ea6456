"""The official client, as far as this plugin uses it: it builds urls, parameters and authentication.

Imported lazily, for the SDK costs 0.15 s. Its `v2.models` (2 s, 80 MB) are never imported: bodies are plain JSON.
"""

from __future__ import annotations

from typing import Any

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import OpenApiException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.metrics_api import MetricsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v2.api.apm_api import APMApi
from datadog_api_client.v2.api.dora_metrics_api import DORAMetricsApi
from datadog_api_client.v2.api.events_api import EventsApi
from datadog_api_client.v2.api.incidents_api import IncidentsApi
from datadog_api_client.v2.api.key_management_api import KeyManagementApi
from datadog_api_client.v2.api.metrics_api import MetricsApi as MetricsV2Api
from datadog_api_client.v2.api.service_definition_api import ServiceDefinitionApi
from datadog_api_client.v2.api.software_catalog_api import SoftwareCatalogApi
from urllib3.exceptions import HTTPError

from telemetry_mcp import HttpReply, Quota
from telemetry_mcp_datadog.setting import Settings
from telemetry_mcp_datadog.transport import Transport, transport_error

UNSTABLE = ("v2.search_incidents",)
"""The operations that Datadog calls unstable and that are used nevertheless."""


class Client:
    """The calls this plugin makes, one method each. They block, and raise only SourceError."""

    def __init__(self, settings: Settings, quota: Quota) -> None:
        # `host` switches the SDK's server table off, and with it DD_SITE; both keys being given, DD_API_KEY and
        # DD_APP_KEY are not looked at either. So two tenants can live in one process.
        configuration = Configuration(  # type: ignore[no-untyped-call]
            host=settings.base_url,
            api_key={
                "apiKeyAuth": settings.api_key.get_secret_value(),
                "appKeyAuth": settings.app_key.get_secret_value(),
            },
            preload_content=False,
            check_input_type=False,
        )
        for operation in UNSTABLE:
            # Switched on in the SDK's own way, each call would also raise a Python warning.
            del configuration.unstable_operations.values[operation]
        self.quota = quota
        self.api = ApiClient(configuration)
        self.api.rest_client = Transport(settings)

    def validate(self) -> HttpReply:
        """The API key alone."""
        return self.ask(self.on(AuthenticationApi).validate)

    def validate_keys(self) -> HttpReply:
        """The API key and the application key together."""
        return self.ask(self.on(KeyManagementApi).validate_api_key)

    def query(self, start_s: int, end_s: int, text: str) -> HttpReply:
        return self.ask(self.on(MetricsApi).query_metrics, _from=start_s, to=end_s, query=text)

    def timeseries(self, body: dict[str, Any]) -> HttpReply:
        return self.ask(self.on(MetricsV2Api).query_timeseries_data, body=body)

    def tags(self, metric: str, match: str) -> HttpReply:
        return self.ask(self.on(MetricsV2Api).list_tags_by_metric_name, metric_name=metric, filter_match=match)

    def apm_services(self, env: str) -> HttpReply:
        return self.ask(self.on(APMApi).get_service_list, filter_env=env)

    def catalog(self, offset: int, limit: int) -> HttpReply:
        kind = {"filter_kind": "service", "include_discovered": True}
        return self.ask(
            self.on(SoftwareCatalogApi).list_catalog_entity, page_offset=offset, page_limit=limit, **kind
        )

    def relations(self, kind: str, offset: int, limit: int) -> HttpReply:
        page = {"page_offset": offset, "page_limit": limit, "include_discovered": True}
        return self.ask(self.on(SoftwareCatalogApi).list_catalog_relation, filter_type=kind, **page)

    def definitions(self, number: int, size: int) -> HttpReply:
        return self.ask(self.on(ServiceDefinitionApi).list_service_definitions, page_number=number, page_size=size)

    def incidents(self, query: str, offset: int, size: int) -> HttpReply:
        page = {"page_offset": offset, "page_size": size, "sort": "-created"}
        return self.ask(self.on(IncidentsApi).search_incidents, query=query, **page)

    def monitor_groups(self, query: str, number: int, size: int) -> HttpReply:
        return self.ask(self.on(MonitorsApi).search_monitor_groups, query=query, page=number, per_page=size)

    def events(self, body: dict[str, Any]) -> HttpReply:
        return self.ask(self.on(EventsApi).search_events, body=body)

    def deployments(self, body: dict[str, Any]) -> HttpReply:
        return self.ask(self.on(DORAMetricsApi).list_dora_deployments, body=body)

    def slos(self, offset: int, limit: int) -> HttpReply:
        return self.ask(self.on(ServiceLevelObjectivesApi).list_slos, offset=offset, limit=limit)

    def slo_history(self, slo: str, start_s: int, end_s: int) -> HttpReply:
        return self.ask(
            self.on(ServiceLevelObjectivesApi).get_slo_history, slo_id=slo, from_ts=start_s, to_ts=end_s
        )

    def on(self, api: Any) -> Any:
        return api(self.api)

    def ask(self, call: Any, **arguments: Any) -> HttpReply:
        """One call of the SDK, not sent while its rate limit is known to be used up."""
        operation = call.__name__
        self.quota.enter(operation)
        try:
            reply: HttpReply = call(**arguments)
        except (HTTPError, OSError, OpenApiException, ValueError, TypeError) as error:
            raise transport_error(error) from error
        self.quota.note(reply.headers, operation)
        return reply

    def close(self) -> None:
        self.api.close()
