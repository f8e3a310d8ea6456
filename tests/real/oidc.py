"""A real OAuth 2.1 authorization server: npm's oidc-provider."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.real.program import Program, binary, free_port

VERSION = "9.13.3"
SCRIPT = Path(__file__).with_name("oidc.mjs")
REDIRECT = "http://127.0.0.1:9/callback"
"""Where a browser is sent with the code; nobody need listen there."""
SECRET = "of-a-test"


def account(name: str) -> dict[str, Any]:
    """A client that asks for itself."""
    grants = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}
    return {"client_id": name, "client_secret": SECRET, **grants}


def provider() -> str:
    """The address of the module, which is installed once into the user's cache."""
    npm = binary("npm", "nodejs npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "telemetry-mcp" / f"oidc-provider-{VERSION}"
    module = folder / "node_modules" / "oidc-provider" / "lib" / "index.js"
    if not module.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            subprocess.run(
                [*command, f"oidc-provider@{VERSION}"], capture_output=True, text=True, timeout=90, check=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            say = pytest.fail if os.environ.get("CI") else pytest.skip
            say(f"oidc-provider cannot be installed: {error}: {error.stderr!r}")
    return module.as_uri()


class OidcServer(Program):
    """`m2m` and `brief` are service accounts, whose tokens live for 300 and 2 s; `mcp` may introspect. Roles are
    a claim of the user or the account; tokens for the resources in `opaque` are none that can be read."""

    def __init__(self, roles: Mapping[str, Sequence[str]], opaque: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "port": self.port,
            "clients": [account("m2m"), account("brief"), account("mcp")],
            "roles": roles,
            "opaque": opaque,
            "brief": ["brief"],
        }

    def start(self) -> None:
        """Returns when it listens."""
        settings = {**self.settings, "provider": provider()}
        self.launch(
            [binary("node", "nodejs"), SCRIPT],
            "the authorization server is ready",
            {"OIDC": json.dumps(settings), "NODE_NO_WARNINGS": "1"},
        )

    def token(self, client: str, resource: str, scope: str = "telemetry:read") -> str:
        """An access token for a service account."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        return str(self.post("/token", client, form)["access_token"])

    def revoke(self, client: str, token: str) -> None:
        self.post("/token/revocation", client, {"token": token})

    def post(self, path: str, client: str, form: Mapping[str, str]) -> dict[str, Any]:
        answer = httpx.post(self.issuer + path, data=form, auth=(client, SECRET), timeout=10, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json()) if answer.content else {}
