"""What went wrong, by SQLSTATE, as our errors. The server's own words stay; nothing here knows a credential."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    clean,
)


class UnknownNameError(BadQueryError):
    """A table or a column that is not there. `words` is the server's own hint."""

    words = ""


EXACT: Mapping[str, type[SourceError]] = {
    "57014": SourceTimeoutError,
    "55P03": SourceTimeoutError,
    "25P03": SourceTimeoutError,
    "57P05": UpstreamError,
    "42P01": UnknownNameError,
    "42703": UnknownNameError,
    "3F000": UnknownNameError,
    "42501": ForbiddenError,
    "3D000": NotFoundError,
    "53300": RateLimitedError,
    "0LP01": ForbiddenError,
}

BY_CLASS: Mapping[str, type[SourceError]] = {
    "28": AuthError,
    **dict.fromkeys(
        ("03", "0A", "20", "21", "22", "23", "25", "26", "2F", "34", "42", "44", "54", "P0"), BadQueryError
    ),
}
"""The first two characters of an SQLSTATE. Of a class that is not here, the server itself is in trouble."""

HINTS: Mapping[str, str] = {
    "57014": "ask for a shorter window or fewer services, index the time column, or raise `statement_timeout`",
    "55P03": "somebody holds a lock on the table, such as a migration: ask again when it is done",
    "25006": "only SELECT is let through: every statement runs in a read-only transaction",
    "25001": "only SELECT is let through: every statement runs in a read-only transaction",
    "22012": "divide by nullif(..., 0): the point is then a gap",
    "22003": "the column holds numbers beyond a double's range: cast or scale them in a `query`",
    "0A000": "only SELECT is let through; and months are no fixed time: bin by $__interval, days or weeks",
    "42702": "give every column of the SELECT a name of its own: AS ...",
    "42601": "one SELECT is expected, which gives a time column, a number column and the service",
    "28000": "correct `username`, or let it log in from this host in the server's pg_hba.conf",
    "28P01": "correct `username` and `password` of this source in plugins.toml",
    "3D000": "correct `database` of this source in plugins.toml",
    "53300": "all connections are taken: lower pool_size, or raise the role's or the server's connection limit",
}

NO_TIME_BUCKET = "this server has no time_bucket: CREATE EXTENSION timescaledb, or write $__timeGroup(time)"
DENIED = re.compile(
    r"permission denied for (?:foreign |materialized )?"
    r'(table|view|relation|schema|function|sequence|database) "?([^"\s]+)"?'
)


def failure(state: str, message: str, hint: str = "", role: str = "") -> SourceError:
    """The error that an SQLSTATE means. `message` and `hint` are the server's, `role` is who asked."""
    error = EXACT.get(state) or BY_CLASS.get(state[:2]) or UpstreamError
    advice = [HINTS.get(state, ""), clean(hint)]
    if state == "42883" and "time_bucket" in message:
        advice = [NO_TIME_BUCKET]
    if state == "42501":
        advice = [grant_for(message, role)]
    made = error(f"{state}: {clean(message)}", hint="; ".join(filter(None, advice)))
    if isinstance(made, UnknownNameError):
        made.words = clean(hint)
    return made


def grant_for(message: str, role: str) -> str:
    """The statement that gives what is missing, as far as the server named it (it does so in English only)."""
    denied = DENIED.search(message)
    if not denied:
        return "let the role SELECT what the query reads: GRANT SELECT ON ... and GRANT USAGE ON SCHEMA ..."
    kind, name = denied.groups()
    if kind == "schema":
        return f"GRANT USAGE ON SCHEMA {name} TO {role};"
    if kind in ("function", "database"):
        return f"leave the {kind} {name} out of the query: the role may not use it"
    return f"GRANT SELECT ON {name} TO {role};"


def broken(error: OSError) -> SourceError:
    """A connection that cannot be made, or was lost."""
    words = clean(str(error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        return SourceTimeoutError("no answer from the server in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "give the server's authority as ca_file, and the host name that its certificate is made out for"
        return UpstreamError(f"TLS: {clean(error.verify_message) or words}", hint=hint)
    if isinstance(error, ssl.SSLError):
        return UpstreamError(f"TLS: {words}", hint="check sslmode, ca_file, cert_file and key_file")
    if "rejected SSL" in words:
        return UpstreamError(words, hint='the server offers no TLS; inside a trusted network: sslmode = "disable"')
    return UpstreamError(f"could not be reached: {words}", hint="check host and port, and that the server runs")
