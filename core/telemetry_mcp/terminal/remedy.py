"""What doctor gives to be pasted: TOML for plugins.toml, or a command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from telemetry_mcp.config import PLACEHOLDER, Config
from telemetry_mcp.errors import Problem
from telemetry_mcp.model import Check
from telemetry_mcp.problem import LIST, quoted
from telemetry_mcp.setting import HttpSettings, SourceSettings
from telemetry_mcp.toml import bare, toml

UNSET = re.compile(r"the variable (\w+) is not set")
NEAR = re.compile(r"[Dd]id you mean '([^']+)'")
FOUND = re.compile(r"found '([^']+)'")

WORD = r"""(?:[\w-]+|"[^"]*")"""
HEADING = re.compile(rf"\[{WORD}(?:\.{WORD})*\]")
LINE = re.compile(rf"({WORD}) = ")
SQL = re.compile(r"(?:GRANT|REVOKE|CREATE|ALTER) [A-Z]")
STATEMENT_END = re.compile(r"(?<=;)\s+(?=[A-Z])")
SETTING = re.compile(r"""\b(\w+) = ("[^"]*"|\d[\w.]*|true|false)""")

Tables = dict[str, dict[str, str]]
"""Heading -> key -> its line."""


def sorted_out(pastes: Iterable[str]) -> tuple[Tables, list[str]]:
    """What is TOML, every heading and every key once (the first counts), and the lines that are not."""
    tables: Tables = {}
    others: dict[str, None] = {}
    for paste in pastes:
        heading = ""
        for line in paste.splitlines():
            key = LINE.match(line)
            if HEADING.fullmatch(line):
                tables.setdefault(heading := line, {})
            elif heading and key:
                tables[heading].setdefault(key[1], line)
            else:
                heading = ""
                others[line] = None
    return tables, list(others)


def lines_of(tables: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [line for heading, keys in tables.items() for line in (heading, *keys.values())]


def joined(fixes: Iterable[str]) -> str:
    """Several fixes as one: each sentence once, then all that is to be pasted, the TOML as one document."""
    parts = [fix.partition("\n") for fix in fixes if fix]
    tables, others = sorted_out(paste for _, _, paste in parts)
    return "\n".join([" ".join(dict.fromkeys(part[0] for part in parts)), *lines_of(tables), *others])


def ready(fix: str, source: str, settings: SourceSettings) -> str:
    """A plugin's fix, which is one line, with what can be pasted of it on lines of its own."""
    if SQL.match(fix):
        where = (
            "in psql, as the owner:" if fix.rstrip().endswith(";") else "in the database, as its administrator:"
        )
        return "\n".join([where, *STATEMENT_END.split(fix)])
    key = SETTING.search(fix)
    if key and key[1] in type(settings).model_fields and "\n" not in fix:
        return f"{fix}\n[{'.'.join(map(bare, ('sources', source)))}]\n{key[1]} = {key[2]}"
    return fix


def is_setting(fix: str) -> bool:
    """Whether it is a line of plugins.toml that mends it."""
    return bool(sorted_out([fix.partition("\n")[2]])[0])


def setting(source: str, key: str, value: Any, note: str = "") -> str:
    """A line of a source's table, under its heading; `key` may lead into an inner table."""
    *inner, last = key.split(".")
    heading = ".".join(bare(part) for part in ("sources", source, *inner))
    return f"[{heading}]\n{bare(last)} = {toml(value)}" + (f"  # {note}" if note else "")


def of_problem(problem: Problem, config: Config) -> Check:
    """What is wrong with plugins.toml as a check that failed."""
    paste = pasted(problem, config)
    detail = f"{problem.key}: {problem.found}" if problem.key else problem.found
    return Check("configuration", False, detail, "\n".join(text for text in (problem.valid, paste) if text))


def pasted(problem: Problem, config: Config) -> str:
    """The lines that put it right, where they are known; values of the file are in them unless they are secret."""
    door, _, name = problem.table.partition(".")
    if unset := UNSET.fullmatch(problem.found):
        return f'export {unset[1]}="..."'
    if problem.found == "is not in the catalog":
        return f"[{problem.key}]"
    if door != "sources" or not problem.key:
        return ""
    near = NEAR.search(problem.valid)
    if near and problem.found == "no such key":
        *inner, wrong = problem.key.split(".")
        value = "..." if inner else written(config, name, wrong, near[1])
        return setting(name, ".".join([*inner, near[1]]), value, f"not {wrong}")
    if isinstance(now := value_of(config, name, problem.key), list):
        return setting(name, problem.key, corrected(now, problem, config))
    if problem.valid == LIST and FOUND.fullmatch(problem.found):
        return setting(name, problem.key, [now])
    if near:
        return setting(name, problem.key, near[1])
    misspelt = any(other.table == problem.table and meant(other) == problem.key for other in config.problems)
    return setting(name, problem.key, "...") if problem.found == "is missing" and not misspelt else ""


def meant(problem: Problem) -> str:
    """The key that a misspelt one most likely stands for."""
    near = NEAR.search(problem.valid)
    return near[1] if near and problem.found == "no such key" else ""


def written(config: Config, source: str, key: str, right: str) -> Any:
    """The value that the file has under a misspelt key, unless it may be a secret."""
    raw = value_of(config, source, key)
    known = right in HttpSettings.model_fields or PLACEHOLDER.fullmatch(str(raw))
    return raw if known and quoted({right: raw}, [right], HttpSettings) else "..."


def value_of(config: Config, source: str, key: str) -> Any:
    """What the file says under a key of a source's table."""
    return next((table.raw for table in config.sources if table.name == source), {}).get(key)


def corrected(names: list[Any], problem: Problem, config: Config) -> list[Any]:
    """The list with every misspelt name of it put right; what nothing is near to is left out."""
    right: dict[str, str | None] = {}
    for other in config.problems:
        if (other.table, other.key) == (problem.table, problem.key) and (wrong := FOUND.fullmatch(other.found)):
            near = NEAR.search(other.valid)
            right[wrong[1]] = near[1] if near else None
    known = (right.get(str(name), name) for name in names)
    return list(dict.fromkeys(name for name in known if name is not None))
