"""PromQL as Prometheus gets it: placeholders filled, names escaped, times and steps in its own units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from telemetry_mcp import BadQueryError, MetricQuery, Window

MAX_POINTS = 11_000
"""Prometheus refuses a range query when (end - start) / step is larger than this, per series."""

# A comment, a literal in one of the three kinds of quotes, or what lies between them.
TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|[^"'`#]+|.""", re.DOTALL)
SERVICE = re.compile(r"\$(?:\{service\}|service\b)")
RE2_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
GO_ESCAPES = {"\\": r"\\", '"': r"\"", "'": r"\'", "\n": r"\n", "\r": r"\r"}


def check_template(promql: str) -> None:
    """ValueError where `$service` stands somewhere else than in the quotes after `=~`.

    It is put in as a regular expression: after `=` a name with a dot would silently find nothing, and outside
    quotes it would be code.
    """
    before = ""
    for token in TOKEN.findall(promql):
        if SERVICE.search(token) and not token.startswith("#"):
            if token[0] not in "\"'`" or not before.rstrip().endswith("=~"):
                raise ValueError('write it as a regular expression in quotes: service=~"$service"')
        before += token


def render(promql: str, services: Sequence[str], window: Window, step_ms: int, scrape_ms: int) -> str:
    """The query with its placeholders filled; no services means all of them.

    Raises BadQueryError where a name cannot be written: backtick literals know no escapes.
    """
    times = {
        "__interval": duration(step_ms),
        "__rate_interval": duration(max(step_ms + scrape_ms, 4 * scrape_ms)),
        "__range": duration(window.duration_ms),
    }
    return "".join(fill(token, times, alternation(services)) for token in TOKEN.findall(promql))


def fill(token: str, times: Mapping[str, str], service: str) -> str:
    if not token.startswith("`"):
        service = "".join(GO_ESCAPES.get(char, char) for char in service)
    elif "`" in service and SERVICE.search(token):
        raise BadQueryError(
            "a service name with a backtick cannot be put between backticks",
            hint='write service=~"$service" with double quotes under this source\'s [metrics]',
        )
    return MetricQuery(query=token).render(service=service, **times)


def alternation(services: Sequence[str]) -> str:
    """An RE2 expression for exactly these names. Prometheus anchors it at both ends."""
    names = [RE2_SPECIAL.sub(r"\\\g<0>", name) for name in services]
    if not names:
        return ".+"
    return names[0] if len(names) == 1 else f"(?:{'|'.join(names)})"


def duration(milliseconds: int) -> str:
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def seconds(milliseconds: int) -> str:
    """Unix seconds in decimals. Milliseconds would be taken for a far future and answered with nothing."""
    return f"{milliseconds / 1000:.3f}"


def widened(window: Window, step_ms: int) -> int:
    """The least multiple of the step that keeps a series of this window within MAX_POINTS."""
    return step_ms * max(1, -(-window.duration_ms // (MAX_POINTS * step_ms)))
