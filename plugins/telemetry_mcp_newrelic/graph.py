"""NerdGraph's GraphQL: one POST route whose status says nothing, and whose `errors` say not much more.

What counts is whether the data that was asked for is there; only without it the class of the error decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, isinf
from time import time
from typing import Any

from anyio import current_effective_deadline, current_time

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    Http,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    clean,
    decode_json,
    error_for_status,
    parse_json,
    retry_after,
)
from telemetry_mcp_newrelic.field import record, records

PATH = "/graphql"
MOST_PAGES = 25
SHORTEST_S, LONGEST_S = 1, 120
"""What NRQL may be given as its time limit."""
NRQL = """query($id: Int!, $q: Nrql!) { actor { account(id: $id) { nrql(query: $q, timeout: %d) {
results currentResults previousResults otherResult metadata { facets messages } } } } }"""

ERRORS: Mapping[str, type[SourceError]] = {
    "BAD_API_KEY": AuthError,
    "UNAUTHENTICATED": AuthError,
    "UNAUTHORIZED": AuthError,
    "ACCESS_DENIED": ForbiddenError,
    "FORBIDDEN": ForbiddenError,
    "PAYMENT_REQUIRED": PlanError,
    "TOO_MANY_REQUESTS": RateLimitedError,
    "TIMEOUT": SourceTimeoutError,
    "INVALID_INPUT": BadQueryError,
    "BAD_USER_INPUT": BadQueryError,
}
WORDS: tuple[tuple[re.Pattern[str], type[SourceError]], ...] = (
    (re.compile(r"timed? ?out", re.IGNORECASE), SourceTimeoutError),
    (re.compile(r"rate limit|too many|limits? exceeded", re.IGNORECASE), RateLimitedError),
    (re.compile(r"syntax error|NRDB:|cannot query field|unknown (argument|type)", re.IGNORECASE), BadQueryError),
)
"""What the words of an error say where its class says nothing; the first that fits."""


@dataclass(frozen=True, slots=True)
class Found:
    """The object that was asked for, and what was said beside it: deprecations, and why it is partial."""

    node: Mapping[str, Any]
    warnings: list[str] = field(default_factory=list)
    partial: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    def listing(self, key: str) -> tuple[list[dict[str, Any]], int]:
        """The objects of the list under `key`, and how many of its entries are none.

        Where there is no list, raises what the errors say, ProtocolError without any.
        """
        if not isinstance(self.node.get(key), list):
            raise error_of({"errors": self.errors})
        return records(self.node[key])


class Graph:
    """The one route of NerdGraph. `told` is the headers of its newest answer, and when that came."""

    def __init__(self, http: Http, most_s: float) -> None:
        self.http = http
        self.most_s = most_s
        self.told: tuple[Mapping[str, str], float] | None = None

    @property
    def timeout_s(self) -> int:
        """What a NRQL query is given on New Relic's side: no more than its answer is waited for."""
        left_s = current_effective_deadline() - current_time()
        return min(max(ceil(self.most_s if isinf(left_s) else left_s), SHORTEST_S), LONGEST_S)

    async def ask(
        self,
        query: str,
        variables: Mapping[str, Any],
        *path: str,
        needs: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Found:
        """The object at `data.<path>`; without it, the error that the body or the status means.

        `needs` is the permission that this takes: what a ForbiddenError tells its reader to give.
        """
        sent = {"query": query, "variables": variables}
        reply = await self.http.request("POST", PATH, json=sent, headers=headers)
        self.told = reply.headers, time()
        wait_s = retry_after(reply.headers)
        if 200 <= reply.status < 300:
            return found_at(await decode_json(reply.body), path, needs, wait_s)
        try:
            body = parse_json(reply.body)
        except ProtocolError:
            body = None
        # A wrong key comes as 401 or as 403; the code tells it from a missing permission.
        if errors_of(body) and isinstance(told := error_of(body), AuthError):
            raise with_hint(told, needs)
        words = explain(body) or reply.body[:600].decode("utf-8", "replace")
        raise with_hint(error_for_status(reply.status, words, retry_after_s=wait_s), needs)

    async def nrql(self, account: int, text: str) -> Found:
        """What NRQL gives in one account: `results`, `metadata` and the rest of its object."""
        needs = f"the right to query data of account {account}"
        query = NRQL % self.timeout_s
        return await self.ask(query, {"id": account, "q": text}, "actor", "account", "nrql", needs=needs)

    async def pages(
        self, query: str, variables: Mapping[str, Any], *path: str, what: str, needs: str = "", **more: Any
    ) -> tuple[list[Found], list[str]]:
        """Every page of a list that goes on at `nextCursor`, and why these are not all.

        The paging ends at a cap, or where a cursor comes again. A page after the first that fails ends it too.
        """
        pages: list[Found] = []
        seen: set[str] = set()
        cursor: str | None = None
        while len(pages) < MOST_PAGES and (cursor is None or cursor not in seen):
            seen |= {cursor} if cursor else set()
            try:
                pages.append(await self.ask(query, {**variables, "cursor": cursor}, *path, needs=needs, **more))
            except SourceError as error:
                if not pages:
                    raise
                return pages, [f"only the first {len(pages)} pages of {what} could be read: {error}"]
            cursor = str(pages[-1].node.get("nextCursor") or "")
            if not cursor:
                return pages, []
        return pages, [f"New Relic has more {what} than the {len(pages)} pages that were read"]


def errors_of(body: Any) -> list[dict[str, Any]]:
    return records(record(body).get("errors"))[0]


def words_of(error: Mapping[str, Any]) -> str:
    return clean(str(error.get("message") or "no message"))


def explain(body: Any) -> str:
    """The words of all errors of a body; empty where it has none."""
    return "; ".join(dict.fromkeys(words_of(error) for error in errors_of(body)))


def error_of(body: Any, wait_s: float | None = None) -> SourceError:
    """The error that a body without the wanted data means: the first whose class is known decides."""
    errors, words = errors_of(body), explain(body)
    if not errors:
        return ProtocolError("the answer has no data, and no error that says why")
    for kind in [ERRORS[name] for error in errors for name in classes(error) if name in ERRORS] + by_words(errors):
        return RateLimitedError(words, retry_after_s=wait_s) if kind is RateLimitedError else kind(words)
    return UpstreamError(words)


def classes(error: Mapping[str, Any]) -> list[str]:
    extensions = record(error.get("extensions"))
    return [str(extensions.get(key) or "").upper() for key in ("error_code", "errorClass", "code")]


def by_words(errors: list[dict[str, Any]]) -> list[type[SourceError]]:
    said = " ".join(f"{words_of(error)} {record(error.get('extensions')).get('errorCode')}" for error in errors)
    return [kind for pattern, kind in WORDS if pattern.search(said)]


def with_hint(error: SourceError, needs: str) -> SourceError:
    if isinstance(error, AuthError):
        error.hint = "set api_key to a user key that is valid in this region; a license key is none"
    if needs and isinstance(error, ForbiddenError):
        error.hint = f"give the user of the key {needs}"
    return error


def found_at(body: Any, path: tuple[str, ...], needs: str, wait_s: float | None) -> Found:
    node = record(body).get("data")
    for step in path:
        node = record(node).get(step)
    # An object of nulls beside an error, as NRQL that failed, is not the data either.
    if not isinstance(node, dict) or ("results" in node and node["results"] is None and errors_of(body)):
        raise with_hint(error_of(body, wait_s), needs)
    said = list(dict.fromkeys(words_of(error) for error in errors_of(body)))
    warnings = [words for words in said if "deprecated" in words.lower()]
    partial = "; ".join(words for words in said if words not in warnings) or None
    return Found(node, warnings, partial, errors_of(body))
