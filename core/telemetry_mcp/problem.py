"""pydantic's findings about a table of plugins.toml, in our words and without a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from telemetry_mcp.errors import Problem

SECRET = re.compile(r"key|token|secret|password|header")
LIST = "It must be a list of names, in brackets"
WORDS = {
    "tuple_type": LIST,
    "list_type": LIST,
    "dict_type": "It must be a table",
    "mapping_type": "It must be a table",
}
"""pydantic's kinds of a fault that need other words: Python's types are no news to who writes TOML."""
USER_INFO = re.compile(r"//[^/\s]*@")


def problems_of(
    error: ValidationError, file: str, table: str, model: type[BaseModel], raw: Any
) -> Iterator[Problem]:
    """pydantic's findings in our words. What was found is quoted from the file itself, where a secret is
    still the name of its variable."""
    for fault in error.errors(include_url=False, include_input=False):
        path = [str(part) for part in fault["loc"]]
        key = ".".join(path)
        fields = fields_at(model, path)
        names = sorted(fields)
        match fault["type"]:
            case "extra_forbidden":
                near = get_close_matches(path[-1], names, n=1)
                meant = f"Did you mean {near[0]!r}? " if near else ""
                yield Problem(file, table, key, "no such key", f"{meant}Valid: {', '.join(names)}")
            case "missing":
                described = fields[path[-1]].description if path[-1] in fields else None
                yield Problem(file, table, key, "is missing", in_words(described))
            case _:
                written = quoted(raw, path, model)
                message = WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
                yield Problem(file, table, key, f"found {written}" if written else "is wrong", message)


def in_words(described: str | None) -> str:
    """What a key is that is missing, from its description."""
    article = "" if (described or "").startswith(("the ", "a ", "an ")) else "the "
    return f"It is {article}{described}" if described else ""


def fields_at(model: type[BaseModel], path: list[str]) -> Mapping[str, FieldInfo]:
    """The fields of the table that the last part of `path` stands in."""
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        inner = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model
    return model.model_fields


def quoted(raw: Any, path: list[str], model: type[BaseModel]) -> str:
    """The value at `path` as it stands in the file, unless it may be a secret written out there."""
    for part in path:
        if not isinstance(raw, Mapping) or part not in raw:
            return ""
        raw = raw[part]
    if not path or isinstance(raw, Mapping | list):
        return ""
    field = model.model_fields.get(path[0])
    secret = SECRET.search(path[0]) or (field and "Secret" in str(field.annotation)) or USER_INFO.search(str(raw))
    return "" if secret and not re.fullmatch(r"\$\{\w+\}", str(raw)) else repr(raw)
