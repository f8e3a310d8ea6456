"""The keys of service accounts as a running server knows them: a change of their file shows within two seconds."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic

from anyio import to_thread

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.key import Key, KeyFault, KeyFile
from telemetry_mcp.access.token import CallerToken, Refused, Verifier

log = logging.getLogger(__name__)

LOOK_S = 1.0
DAY_S = 86_400.0
NOBODY = "0" * 64
"""In place of the hash of a key that there is not: comparing takes the same time."""
ISSUER = "telemetry-mcp keys"

Signature = tuple[int, int, int] | None


class Keyring(Verifier):
    """Knows the keys by their hashes. `scopes` is what every key may do, where tokens are held to scopes.

    Raises KeyFault at once when the file cannot be used; later faults of it are logged, and the keys known before
    go on working.
    """

    def __init__(
        self,
        file: KeyFile,
        known_roles: frozenset[str],
        scopes: Sequence[str] = (),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.file = file
        self.known_roles = known_roles
        self.scopes = list(scopes)
        self.clock = clock
        self.signature = self.signed()
        self.keys = self.known()
        self.looked_at = clock()
        self.warned: dict[str, float] = {}

    async def examine(self, token: str) -> CallerToken:
        if self.clock() - self.looked_at > LOOK_S:
            # Whoever comes meanwhile goes on with the keys as they were.
            self.looked_at = self.clock()
            await to_thread.run_sync(self.look)
        known = self.keys.get([*token.split("_", 2), ""][1])
        good = hmac.compare_digest(self.file.hashed(token), known[0].hash if known else NOBODY)
        if known is None or not good:
            raise Refused("no such key")
        (key, caller), now = known, self.file.now()
        if not key.works(now):
            raise Refused("the key was revoked" if key.revoked else "the key has expired")
        self.warn(key, now)
        return caller

    def known(self) -> Mapping[str, tuple[Key, CallerToken]]:
        """By its id, each key and what it is to whoever shows it."""
        return {key.id: (key, self.token(key)) for key in self.file.read().keys}

    def token(self, key: Key) -> CallerToken:
        client = f"key:{key.id}"
        roles = tuple(role for role in key.roles if role in self.known_roles)
        return CallerToken(
            token="",
            client_id=client,
            scopes=self.scopes,
            expires_at=int(key.expires.timestamp()),
            subject=key.name,
            claims={"iss": ISSUER},
            caller=Caller(key.name, "service_account", roles, client),
        )

    def warn(self, key: Key, now: datetime) -> None:
        """Tell once a day that a key which is used comes to its end."""
        if key.standing(now) == "valid" or self.clock() - self.warned.get(key.id, -DAY_S) < DAY_S:
            return
        self.warned[key.id] = self.clock()
        what = "a newer one was made: use that" if key.rotated else f"run: telemetry-mcp keys rotate {key.name}"
        log.warning("the key %s of %s works until %s; %s", key.id, key.name, key.expires.date(), what)

    def look(self) -> None:
        """Read the file again if it is not the one that was read before. For a worker thread: it may block."""
        signature = self.signed()
        if signature == self.signature:
            return
        self.signature = signature
        try:
            self.keys = self.known()
        except KeyFault as fault:
            log.error("%s; the keys known before go on working", fault)

    def signed(self) -> Signature:
        try:
            found = self.file.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
