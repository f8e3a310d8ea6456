"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["local", "user", "service_account"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as it was proven. `subject` is the user or the service account, `client` the OAuth client
    or the key through which it asks, `address` where the connection comes from.

    `local` is whoever runs the process: the other end of stdio, or of HTTP that was started without
    authentication."""

    subject: str
    kind: Kind
    roles: tuple[str, ...] = ()
    client: str | None = None
    address: str | None = None


LOCAL = Caller("local", "local", ("admin",))
