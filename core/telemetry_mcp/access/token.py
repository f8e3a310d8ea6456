"""What a token turns out to be, and what every verifier of tokens has in common."""

from __future__ import annotations

import logging
from dataclasses import replace

from mcp.server.auth.provider import AccessToken, TokenVerifier

from telemetry_mcp.access.caller import LOCAL, Caller
from telemetry_mcp.errors import TelemetryError

log = logging.getLogger(__name__)


class CallerToken(AccessToken):
    """A token that was verified, and whose it is. `token` itself is empty: nothing behind the door needs it, and
    what is not there cannot be logged or passed on."""

    caller: Caller

    def seen_from(self, address: str | None) -> CallerToken:
        """The same, with where the connection comes from."""
        return self.model_copy(update={"caller": replace(self.caller, address=address)})


class Refused(TelemetryError):
    """The token does not let anybody in. The text says why in our words, and holds nothing of the token."""


class Undecided(TelemetryError):
    """Whether the token is good cannot be found out now: the authorization server is out of reach."""


class Verifier(TokenVerifier):
    """Tells whose a token is."""

    async def examine(self, token: str) -> CallerToken:
        """The token's caller, without an address. Raises Refused or Undecided."""
        raise NotImplementedError

    async def verify_token(self, token: str) -> CallerToken | None:
        """The same for the SDK, to which a token is good or not; the log says why it is not."""
        try:
            return await self.examine(token)
        except (Refused, Undecided) as error:
            log.info("a token was refused: %s", error)
            return None

    async def close(self) -> None:
        """Give up what is held open."""


def caller_of_token(token: AccessToken | None) -> Caller:
    """Who asks, by `get_access_token()`: without a token it is whoever runs the process.

    A token that no verifier of ours has made out is nobody's: TypeError.
    """
    if token is None:
        return LOCAL
    if not isinstance(token, CallerToken):
        raise TypeError("the token was verified by somebody else")
    return token.caller
