"""A template made into what is sent: placeholders filled in, and `$service` as exactly the names asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from telemetry_mcp import BadQueryError, MetricQuery, Window

MAX_POINTS = 11_000
"""Most points of one series: a smaller step is widened."""

SERVICE = r"\$(?:\{service(?::\w+)?\}|service\b)"
"""`$service`, `${service}`, or as Grafana writes it with a format, `${service:regex}`."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What fills a template: when, how fine, and for whom. No services: all that have a name."""

    window: Window
    step_ms: int
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """What is sent. `width_ms`: each time it answers is where a bucket of this width starts; 0: a sample's own."""

    text: str
    binds: Mapping[str, str] = field(default_factory=dict)
    width_ms: int = 0

    def __str__(self) -> str:
        told = " ".join(self.text.split())
        return f"{told} with {orjson.dumps(self.binds).decode()}" if self.binds else told


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a language compares `operand`, a group of `pattern`, with the services that are asked for."""

    pattern: re.Pattern[str]
    equal: str
    either: str
    named: str

    def apply(self, text: str, names: Sequence[str]) -> str:
        """Each comparison as one with these names, written out as the language wants them; none: any name."""

        def put(match: re.Match[str]) -> str:
            operand = match["operand"]
            told = self.either.join(f"{operand} {self.equal} {name}" for name in names)
            return f"({told or self.named.format(operand)})"

        return self.pattern.sub(put, text)

    def check(self, text: str) -> None:
        """BadQueryError where `$service` is not compared with anything: there a name could be code."""
        if re.search(SERVICE, self.pattern.sub("", text)):
            raise BadQueryError(f"$service can only be compared, as in `tag {self.equal} $service`")


def sound(services: Sequence[str]) -> None:
    """BadQueryError where a name cannot be asked for."""
    if not all(services):
        raise BadQueryError("an empty service name would match everything that has none", hint="name a service")
    check_unicode("".join(services))


def check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadQueryError("the query or a service name in it is not Unicode text") from None


def filled(text: str, **placeholders: str) -> str:
    """The text with `$name` and `${name}` replaced; what is put in must be quoted already."""
    check_unicode(text)
    return MetricQuery(query=text).render(**placeholders)


def bound(services: Sequence[str]) -> dict[str, str]:
    return {f"s{number}": name for number, name in enumerate(services)}


def duration(milliseconds: int) -> str:
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def widened(window: Window, step_ms: int) -> int:
    """The least multiple of the step that keeps a series of this window within MAX_POINTS."""
    return step_ms * max(1, -(-window.duration_ms // (MAX_POINTS * step_ms)))
