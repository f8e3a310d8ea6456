"""The key that seals what a client carries from one request to the next, so that any instance can open it."""

from __future__ import annotations

import hmac

from mcp.server.mcpserver import RequestStateSecurity

from telemetry_mcp.access.setting import AccessSettings

LABEL = b"telemetry-mcp/request-state/1"
"""Each use of the secret has a key of its own: one that gets out does not open the others."""


def sealing(settings: AccessSettings) -> RequestStateSecurity | None:
    """None without `[access] secret`: then the SDK's key of one process holds."""
    if settings.secret is None:
        return None
    key = hmac.digest(settings.secret.get_secret_value().encode(), LABEL, "sha256")
    return RequestStateSecurity(keys=[key])
