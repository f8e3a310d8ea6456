"""JSON schemas that say the same in fewer tokens: the tool list is the user's context window."""

from __future__ import annotations

from collections import Counter
from typing import Any

LOCAL = "#/$defs/"
LIMITS = {"minLength", "maxLength", "maxItems"}
"""Held to, but not told: whoever goes beyond them is told in a sentence."""


def slim(schema: dict[str, Any], *, described: bool = True, nullable: bool = True) -> dict[str, Any]:
    """The same schema without pydantic's titles and null defaults, nullable types written as a list of types,
    and what is referred to once written where it stands.

    Without `described` only types and names are left, as for an answer, whose fields must speak for themselves and
    are all always there; and of an object inside it the plain fields are named only (`named`). Without `nullable`
    a field that may be null is shown as one that may be left out.
    """
    dropped = LIMITS | {"title"} if described else {"title", "description"}
    short = reduced(schema, dropped, ["null"] if nullable else [])
    definitions = short.pop("$defs", {})
    if not described:
        short.pop("required", None)
        short["properties"] = {name: marked(node) for name, node in short.get("properties", {}).items()}
        definitions = {name: named(node) for name, node in definitions.items()}
    uses = Counter(references(short)) + Counter(references(definitions))
    kept = {name: inlined(node, definitions, uses) for name, node in definitions.items() if uses[name] > 1}
    slimmed: dict[str, Any] = inlined(short, definitions, uses)
    return {**slimmed, "$defs": kept} if kept else slimmed


def named(definition: dict[str, Any]) -> dict[str, Any]:
    """An object's schema in which plain fields have no type of their own: those that are always there are in
    `required`, the others in `properties`. What is more than a type (an enum, text of a source, ...) stays."""
    if "properties" not in definition:
        return definition
    always = definition.get("required", [])
    told = {}
    for name, node in definition["properties"].items():
        if not plain(node):
            told[name] = marked(node)
        elif name not in always:
            told[name] = {}
    rest = {key: value for key, value in definition.items() if key not in ("required", "properties", "type")}
    named_only = [name for name in always if name not in told]
    return rest | ({"required": named_only} if named_only else {}) | ({"properties": told} if told else {})


def marked(node: dict[str, Any]) -> dict[str, Any]:
    """Text of a source needs no more than the mark that says so."""
    if "items" in node:
        return {**node, "items": marked(node["items"])}
    return {"$comment": node["$comment"]} if "$comment" in node else node


def plain(node: dict[str, Any]) -> bool:
    """Whether it says no more than a type, or a list of a type."""
    return set(node) <= {"type", "default", "items"} and ("items" not in node or plain(node["items"]))


def reduced(node: Any, dropped: set[str], null: list[str]) -> Any:
    if isinstance(node, list):
        return [reduced(item, dropped, null) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            out[key] = {name: reduced(item, dropped, null) for name, item in value.items()}
        elif key not in dropped and not noise(key, value):
            out[key] = reduced(value, dropped, null)
    return flattened(out, null)


def noise(key: str, value: Any) -> bool:
    """What every schema says and nobody needs to read. (A default of 0 is none: Python takes False for it.)"""
    return (key == "default" and value in (None, [])) or (
        key in ("default", "additionalProperties") and value is False
    )


def flattened(node: dict[str, Any], null: list[str]) -> dict[str, Any]:
    """`anyOf: [{type: number}, {type: null}]` as `type: [number, null]`; an enum with null as one of its values,
    for it needs no type beside it."""
    if "enum" in node:
        node = {key: value for key, value in node.items() if key != "type"}
    options = node.get("anyOf")
    if not isinstance(options, list) or len(options) != 2 or options[1] != {"type": "null"}:
        return node
    first = options[0]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if not null:
        return {**first, **rest}
    if "enum" in first:
        return {**first, "enum": [*first["enum"], None], **rest}
    if not isinstance(first.get("type"), str):
        return node
    return {**first, "type": [first["type"], *null], **rest}


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].removeprefix(LOCAL)] if "$ref" in node else []
    return own + [name for value in node.values() for name in references(value)]


def inlined(node: Any, definitions: dict[str, Any], uses: Counter[str]) -> Any:
    if isinstance(node, list):
        return [inlined(item, definitions, uses) for item in node]
    if not isinstance(node, dict):
        return node
    name = node.get("$ref", "").removeprefix(LOCAL)
    if name in definitions and uses[name] == 1:
        return inlined(definitions[name], definitions, uses)
    return {key: inlined(value, definitions, uses) for key, value in node.items()}
