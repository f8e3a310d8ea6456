"""PromQL as Prometheus gets it: placeholders filled, names escaped, times and steps in its own units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from telemetry_mcp import BadQueryError, MetricQuery, Window

LABEL = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
METRIC = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"

FAR_MS = 100_000_000_000_000
"""The year 5138: what lies beyond it was not written in milliseconds."""

# A comment, a literal in one of the three kinds of quotes, or what lies between them.
TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|[^"'`#]+|.""", re.DOTALL)
SERVICE = re.compile(r"\$(?:\{service\}|service\b)")
RE2_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def check_template(promql: str) -> None:
    """ValueError where `$service` stands somewhere else than in the quotes after `=~`.

    It is put in as a regular expression: after `=` a name with a dot would silently find nothing, and outside
    quotes it would be code.
    """
    before = ""
    for token in TOKEN.findall(promql):
        at_home = token[0] in "\"'`" and before.rstrip().endswith("=~")
        if SERVICE.search(token) and not at_home and not token.startswith("#"):
            raise ValueError('write it as a regular expression in quotes: service=~"$service"')
        before += token


def render(
    promql: str, window: Window, step_ms: int, scrape_ms: int, services: Sequence[str], label: str = "service"
) -> str:
    """The query with its placeholders filled; no services means all of them.

    Raises BadQueryError where a name cannot be written: it is empty, no Unicode, or has a backtick and is to
    stand between backticks, which know no escapes.
    """
    if not all(services):
        raise BadQueryError("an empty service name would match everything that has none", hint="name a service")
    plain = {
        "service_label": label,
        "__interval": duration(step_ms),
        "__rate_interval": duration(max(step_ms + scrape_ms, 4 * scrape_ms)),
        "__range": duration(window.duration_ms),
    }
    rendered = "".join(fill(token, plain, alternation(services)) for token in TOKEN.findall(promql))
    try:
        rendered.encode()
    except UnicodeEncodeError:
        raise BadQueryError("the query or a service name in it is not Unicode text") from None
    return rendered


def fill(token: str, plain: Mapping[str, str], service: str) -> str:
    """A token of PromQL with its placeholders filled; in a literal only its own kind of quote may be escaped."""
    quote = token[0]
    if quote == "#":
        return token
    if quote != "`":
        service = service.replace("\\", r"\\").replace(quote, "\\" + quote).replace("\n", r"\n")
    elif "`" in service and SERVICE.search(token):
        raise BadQueryError(
            "a service name with a backtick cannot be put between backticks",
            hint='write service=~"$service" with double quotes under this source\'s [metrics]',
        )
    return MetricQuery(query=token).render(service=service, **plain)


def alternation(services: Sequence[str]) -> str:
    """An RE2 expression for exactly these names. Prometheus anchors it at both ends."""
    names = [RE2_SPECIAL.sub(r"\\\g<0>", name) for name in services]
    if not names:
        return ".+"
    return names[0] if len(names) == 1 else f"(?:{'|'.join(names)})"


def duration(milliseconds: int) -> str:
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def seconds(milliseconds: int) -> str:
    """Unix seconds in decimals. BadQueryError beyond the year 5138, which Prometheus would answer with nothing."""
    if not 0 <= milliseconds < FAR_MS:
        raise BadQueryError(f"{milliseconds} is no time in epoch milliseconds", hint="ask for another window")
    return f"{milliseconds / 1000:.3f}"


def widened(window: Window, step_ms: int, max_points: int) -> int:
    """The least multiple of the step that keeps a series of this window within `max_points`."""
    return step_ms * max(1, -(-window.duration_ms // (max_points * step_ms)))
