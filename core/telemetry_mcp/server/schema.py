"""JSON schemas that say the same in fewer tokens: the tool list is the user's context window."""

from __future__ import annotations

from typing import Any


def slim(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without pydantic's titles and null defaults; nullable types written as a list of types."""
    slimmed: dict[str, Any] = reduced(schema)
    return slimmed


def reduced(node: Any) -> Any:
    if isinstance(node, list):
        return [reduced(item) for item in node]
    if not isinstance(node, dict):
        return node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "additionalProperties" and value is False:
            continue
        if key == "default" and value is None:
            continue
        if key in ("properties", "$defs"):
            out[key] = {name: reduced(item) for name, item in value.items()}
        else:
            out[key] = reduced(value)
    return flattened(out)


def flattened(node: dict[str, Any]) -> dict[str, Any]:
    """`anyOf: [{type: number}, {type: null}]` as `type: [number, null]`."""
    options = node.get("anyOf")
    if not isinstance(options, list) or len(options) != 2 or options[1] != {"type": "null"}:
        return node
    first = options[0]
    if "enum" in first or not isinstance(first.get("type"), str):
        return node
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**first, "type": [first["type"], "null"], **rest}
