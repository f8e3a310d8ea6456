"""Everything this package raises on purpose.

    TelemetryError
      ConfigError                plugins.toml is wrong; holds every problem found, not just the first
      QuestionError              the caller's arguments are wrong; the text names what is valid
      LimitedError               one call too many of this caller; `retry_after_s` are whole seconds
      SourceError                a source could not answer
        AuthError                401: the credentials were refused
        ForbiddenError           403: the credentials are good, a permission is missing
        PlanError                402: not part of the account's plan
        BadQueryError            400, 422: the backend does not accept the query
        NotFoundError            404
        RateLimitedError         429; `retry_after_s` is the backend's hint, None where it gave none
          QuotaError             not asked at all: our own quota towards the source is used up
        SourceTimeoutError       no answer within the limit that the text names
        UpstreamError            5xx, HTML, a truncated body, a dropped connection
        ProtocolError            success by its status, with a body that cannot be used
        UnavailableError         not asked at all: the breaker is open
        BusyError                not asked at all: too many earlier calls of ours are still under way

A source raises these and nothing else. It need not know its own name: the fan-out adds it. The vendor's own
words belong into the message; credentials, headers and URLs with user information never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class TelemetryError(Exception):
    """The root: catch this to catch everything that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where it is, what was found, what is valid."""

    file: str
    table: str
    key: str
    found: str
    valid: str

    def __str__(self) -> str:
        where = f"[{self.table}] {self.key}".strip() if self.table else self.key
        return f"{self.file}: {where}: {self.found}. {self.valid}".replace(": :", ":").strip()


class ConfigError(TelemetryError):
    """plugins.toml cannot be used. `problems` lists every fault that was found, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class QuestionError(TelemetryError):
    """The question cannot be asked as it stands; the text says what is valid instead."""


class LimitedError(TelemetryError):
    """One call too many of one caller: a sentence for who asked, and the seconds after which to ask again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceError(TelemetryError):
    """A source could not answer.

    `hint` says what the reader can do; each class has a default. `retryable` is true where asking again
    may help, `counts` where the failure speaks of the backend's health and so moves the breaker.
    """

    kind: ClassVar[str] = "upstream"
    default_hint: ClassVar[str] = "look at the source's own health, then ask again"
    retryable: ClassVar[bool] = False
    counts: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint


class AuthError(SourceError):
    kind = "auth"
    default_hint = "check this source's credentials in plugins.toml, then run `telemetry-mcp doctor`"


class ForbiddenError(SourceError):
    kind = "forbidden"
    default_hint = "give the key the permission that is named, or take the capability out of use"


class PlanError(SourceError):
    kind = "plan"
    default_hint = "the account's plan does not include this; nothing to repair here"


class BadQueryError(SourceError):
    kind = "bad_query"
    default_hint = "correct the query under this source's [metrics] in plugins.toml"


class NotFoundError(SourceError):
    kind = "not_found"
    default_hint = "check the source's url (is its path right?) in plugins.toml"


class RateLimitedError(SourceError):
    kind = "rate_limited"
    default_hint = "wait; every caller of this source is being held back until the limit resets"

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class QuotaError(RateLimitedError):
    default_hint = "wait, or raise `rate` of this source in plugins.toml if its owner agrees"


class SourceTimeoutError(SourceError):
    kind = "timeout"
    default_hint = "ask for a shorter window, or raise `timeout` for this source in plugins.toml"
    counts = True


class UpstreamError(SourceError):
    kind = "upstream"
    retryable = True
    counts = True


class ProtocolError(SourceError):
    kind = "protocol"
    default_hint = "check that `url` points at the API itself and not at a proxy or a login page"


class UnavailableError(SourceError):
    kind = "breaker_open"
    default_hint = "nothing was asked; it is tried again by itself after the pause that is named"


class BusyError(SourceError):
    kind = "busy"
    default_hint = "ask for less at once, or raise max_concurrency for this source in plugins.toml"
