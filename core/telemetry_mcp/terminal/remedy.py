"""What doctor gives to be pasted: TOML for plugins.toml, or a command."""

from __future__ import annotations

import re
from typing import Any

from telemetry_mcp.config import PLACEHOLDER, Config
from telemetry_mcp.errors import Problem
from telemetry_mcp.model import Check
from telemetry_mcp.problem import quoted
from telemetry_mcp.setting import HttpSettings
from telemetry_mcp.toml import bare, toml

UNSET = re.compile(r"the variable (\w+) is not set")
NEAR = re.compile(r"[Dd]id you mean '([^']+)'")


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
    raw = next((table.raw for table in config.sources if table.name == source), {}).get(key)
    known = right in HttpSettings.model_fields or PLACEHOLDER.fullmatch(str(raw))
    return raw if known and quoted({right: raw}, [right], HttpSettings) else "..."
