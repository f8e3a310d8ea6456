"""A backend's good answer, spoilt: what vendors, proxies and new versions really send now and then."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import orjson

from telemetry_mcp.testing.backend import Response

MOST = 48
"""Mutants of one capability: enough for every level of an answer, few enough for a second of testing."""
DEPTH = 8
PAIR = 3

LINES = 12
"""Lines of an answer that is no JSON, each of which is spoilt in the ways of LINE."""

Path = tuple[str | int, ...]
Change = Callable[[Response], Response]
GONE = object()
STRANGE: Sequence[tuple[str, Any]] = (
    ("null", None),
    ("missing", GONE),
    ("a list", [[]]),
    ("an object", {"un": "known"}),
    ("a text", "strange"),
    ("a huge number", 10**19 - 1),
    ("true", True),
)
LINE: Mapping[str, Callable[[bytes], bytes]] = {
    "missing": lambda line: b"",
    "there twice": lambda line: line + line,
    "cut in the middle": lambda line: line[: len(line) // 2],
    "without its numbers": lambda line: re.sub(rb"[0-9]+", b"strange", line),
    "no text": lambda line: b"\xff\x00" + line,
}


def document_of(response: Response) -> Any:
    """The JSON of an answer; GONE when it is none."""
    try:
        return orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return GONE


def emptied(document: Any) -> Any:
    """The same answer with nothing found: every list in it is empty."""
    if isinstance(document, dict):
        return {key: emptied(value) for key, value in document.items()}
    return [] if isinstance(document, list) else document


def paths(document: Any, path: Path = ()) -> Iterator[Path]:
    """Where something stands in a document: every key, and of a list the first entry, or all of a short one that
    holds no lists or objects, such as the pair of a time and a value."""
    yield path
    if len(path) < DEPTH and isinstance(document, dict):
        for key, value in document.items():
            yield from paths(value, (*path, key))
    elif len(path) < DEPTH and isinstance(document, list) and document:
        flat = len(document) <= PAIR and not any(isinstance(entry, dict | list) for entry in document)
        for nth in range(len(document) if flat else 1):
            yield from paths(document[nth], (*path, nth))


def mutants(answers: Sequence[Response]) -> list[tuple[str, Change]]:
    """What to do to a backend's answers, in words and as a function of an answer."""
    documents = [document for answer in answers if (document := document_of(answer)) is not GONE]
    texts = [answer.body for answer in answers if document_of(answer) is GONE and answer.body.strip()]
    made: list[tuple[str, Change]] = [
        (f"{named(path)} is {words}", partial(put, path, strange)) for path, words, strange in chosen(documents)
    ]
    for nth in range(min(LINES, max((len(text.splitlines()) for text in texts), default=0))):
        made += [(f"line {nth + 1} is {words}", partial(rewritten, nth, change)) for words, change in LINE.items()]
    return made


def nulls(answers: Sequence[Response]) -> list[tuple[str, Change]]:
    """Each number of the answers made null, one at a time: a gap in what was measured."""
    documents = [document for answer in answers if (document := document_of(answer)) is not GONE]
    places = dict.fromkeys(path for document in documents for path in paths(document) if number_at(document, path))
    return [(f"{named(path)} is null", partial(put, path, None)) for path in list(places)[:MOST]]


def number_at(document: Any, path: Path) -> bool:
    for part in path:
        document = document[part]
    return isinstance(document, int | float) and not isinstance(document, bool)


def chosen(documents: Sequence[Any]) -> list[tuple[Path, str, Any]]:
    """What to put where in JSON, at most MOST of them, spread evenly over the documents."""
    places = list(dict.fromkeys(path for document in documents for path in paths(document)))
    every = [(path, *one) for path in places for one in STRANGE if path or one[1] is not GONE]
    if len(every) <= MOST:
        return every
    # One strange value a place, another one at the next, so that a long document is covered to its end.
    strange = cycle([one for one in STRANGE if one[1] is not GONE])
    turns = [(path, *next(strange)) for path in places]
    step = max(1, -(-len(turns) // MOST))
    return [*turns[::step], *every[:: -(-len(every) // MOST)]][:MOST]


def named(path: Path) -> str:
    return ".".join(map(str, path)) or "the whole answer"


def put(path: Path, strange: Any, response: Response) -> Response:
    """The answer with `strange` at `path`; as it was where it has no such place."""
    document = document_of(response)
    if document is GONE:
        return response
    if not path:
        return replace(response, body=orjson.dumps(strange))
    parent = document
    try:
        for part in path[:-1]:
            parent = parent[part]
        if strange is GONE:
            del parent[path[-1]]
        else:
            _ = parent[path[-1]]  # where there is no such place, none is made
            parent[path[-1]] = strange
    except (KeyError, IndexError, TypeError):
        return response
    return replace(response, body=orjson.dumps(document))


def rewritten(nth: int, change: Callable[[bytes], bytes], response: Response) -> Response:
    """An answer of text with one line changed; JSON as it was."""
    lines = response.body.splitlines(keepends=True)
    if nth >= len(lines) or document_of(response) is not GONE:
        return response
    return replace(response, body=b"".join([*lines[:nth], change(lines[nth]), *lines[nth + 1 :]]))
