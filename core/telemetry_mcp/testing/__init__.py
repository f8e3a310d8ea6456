"""The contract kit: what whoever writes a source tests it with. It needs pytest; nothing else here does.

    from telemetry_mcp.testing import Request, SourceContract

    class TestZabbix(SourceContract):
        plugin = "acme-zabbix"                   # an entry point, or a path to a .py file beside this test
        settings = {"token": "t"}                # what its table in plugins.toml says; url is filled in
        metrics = {"cpu": "system.cpu"}

        def respond(self, request: Request):     # the healthy backend, on a real server on loopback
            return {"result": [...]}

pytest then runs the whole contract. `respond` gets a Request and gives JSON, text, bytes or a Response; that an
empty answer, a refused key, a redirect or a torn connection look like, the kit knows. For a source that is not
behind HTTP override `backend` instead: see SourceContract.

For tests of one's own: `mocked` (a source over a fake transport), `scripted` (a source that answers, waits and
fails as told, for whoever tests what asks sources), `registry_of` (hands such sources to the engine), `Clock`.
"""

from telemetry_mcp.testing.backend import Request, Response, relay
from telemetry_mcp.testing.contract import SourceContract
from telemetry_mcp.testing.fake import Clock, Scripted, mock_http, mocked, registry_of, scripted

__all__ = [
    "Clock",
    "Request",
    "Response",
    "Scripted",
    "SourceContract",
    "mock_http",
    "mocked",
    "registry_of",
    "relay",
    "scripted",
]
