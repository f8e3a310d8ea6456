"""The user's own SELECT: what in it is text, what a comment, and what becomes a bind parameter.

$service                the names asked for; only as `column = ANY($service)`
$__timeFrom, $__timeTo  the window, [from, to)
$__timeFilter(column)   column inside the window
$__interval             the wished distance of points, as an interval
$__timeGroup(column)    the interval's bucket: time_bucket where there is TimescaleDB, else date_bin
"""

from __future__ import annotations

import re
from collections.abc import Callable

from telemetry_mcp import BadQueryError
from telemetry_mcp_timescaledb.query import Ask, Binds, Server, bucket, interval, moment

# A comment, a literal or quoted name, a placeholder, or what lies between them.
TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/ )
    | (?P<quoted> [eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
        | \$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$ )
    | (?P<any> =\s*ANY\s*\(\s*\$\{?service\}?\s*\) )
    | (?P<name> \$\{?(?:__)?[^\W\d_]\w*\}? )(?P<argument> \s*\((?:[^()'"$]|"(?:[^"]|"")*"|\$__interval\b)*\) )?
    | (?P<own> \$\d+ )
    | (?P<unclosed> /\* | ['"] )
    | (?P<code> [^\W\d]\w* | . )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
COLUMN = re.compile(r'\(\s*(?P<column>(?:[\w.]|"(?:[^"]|"")*")+)\s*(?:,\s*\$__interval\s*)?\)')
KNOWN = "$service, $__timeFrom, $__timeTo, $__timeFilter(column), $__interval, $__timeGroup(column)"
WITH_ARGUMENT = frozenset({"__timeFilter", "__timeGroup"})
PLAIN = frozenset({"__timeFrom", "__timeTo", "__interval"})

Fill = Callable[[str, str], str]


def check_template(sql: str) -> None:
    """ValueError where a placeholder is unknown, or `$service` stands elsewhere than in `= ANY($service)`."""
    replaced(sql, lambda name, column: "")


def render(sql: str, ask: Ask, server: Server, binds: Binds) -> str:
    """The SELECT with bind parameters for its placeholders. All services: `= ANY($service)` is IS NOT NULL."""

    def fill(name: str, column: str) -> str:
        window = ask.window
        match name:
            case "service":
                return f"= ANY({binds(list(ask.services), 'text[]')})" if ask.services else "IS NOT NULL"
            case "__timeFrom":
                return binds(moment(window.start_ms), "timestamptz")
            case "__timeTo":
                return binds(moment(window.end_ms), "timestamptz")
            case "__interval":
                return binds(interval(ask.step_ms), "interval")
            case "__timeGroup":
                return bucket(column, ask, server, binds)
            case _:
                start, end = (binds(moment(at), "timestamptz") for at in (window.start_ms, window.end_ms))
                return f"({column} >= {start} AND {column} < {end})"

    try:
        return replaced(sql, fill)
    except ValueError as error:
        raise BadQueryError(str(error), hint=f"valid placeholders: {KNOWN}") from None


def replaced(sql: str, fill: Fill) -> str:
    """The text with `fill(name, column)` for every placeholder, without comments and closing semicolon."""
    parts = [part(match, fill) for match in TOKEN.finditer(sql)]
    return "".join(parts).strip().rstrip(";").rstrip()


def part(match: re.Match[str], fill: Fill) -> str:
    text = match[0]
    match match.lastgroup:
        case "comment":
            return " "
        case "quoted" | "tag":
            if text[0] != '"' and "$service" in text:
                raise ValueError("$service in quotes is plain text; write column = ANY($service)")
            return text
        case "any":
            return fill("service", "")
        case "name" | "argument":
            return placeholder(match["name"].strip("${}"), match["argument"] or "", fill)
        case "own":
            raise ValueError(f"{text}: parameters are numbered here; use {KNOWN}")
        case "unclosed":
            raise ValueError(f"{text} is never closed")
    return text


def placeholder(name: str, argument: str, fill: Fill) -> str:
    if name in WITH_ARGUMENT:
        column = COLUMN.fullmatch(argument.strip())
        if not column:
            raise ValueError(f"${name} needs a column: ${name}(time)")
        return fill(name, column["column"])
    if name in PLAIN:
        called = not argument.strip(" ()\n\t")  # Grafana writes $__timeFrom() with brackets
        return fill(name, "") + ("" if called else argument)
    if name == "service":
        raise ValueError("write column = ANY($service)")
    raise ValueError(f"${name} is no placeholder; valid: {KNOWN}")
