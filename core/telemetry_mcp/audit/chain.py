"""The chain: every record carries its number, the hash of the one before it, and its own.

With a key the hash is an HMAC, which only who has the key can make. Without one it is a plain SHA-256: it shows
accidents, and changes by whoever cannot rewrite all that follows; the record says which of the two it is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Any

import orjson

from telemetry_mcp.audit.ecs import written

START = "chain.start"
SIGNED = "hmac-sha256"
PLAIN = "sha256"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last record of a chain."""

    chain: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Link:
    """What a line says of its place in a chain. `key` names the key without giving it away."""

    chain: str
    sequence: int
    previous: str | None
    hash: str
    algorithm: str
    key: str | None

    @property
    def tail(self) -> Tail:
        return Tail(self.chain, self.sequence, self.hash)


class Seal:
    """Makes the hashes of one key; None: plain ones. The secret itself is never used: it serves other ends too."""

    def __init__(self, secret: bytes | None) -> None:
        key = None if secret is None else hmac.digest(secret, b"telemetry-mcp audit chain", "sha256")
        self.keyed = None if key is None else hmac.new(key, digestmod="sha256")
        self.algorithm = PLAIN if secret is None else SIGNED
        self.name = None if key is None else hmac.digest(key, b"name", "sha256").hex()[:8]

    def __call__(self, content: bytes) -> str:
        if self.keyed is None:
            return hashlib.sha256(content).hexdigest()
        # hmac.digest lets go of the interpreter each time, and under load waits for it again and again.
        made = self.keyed.copy()
        made.update(content)
        return made.hexdigest()

    def made(self, link: Link) -> bool:
        """Whether it is of this kind and key, so that it can be told whether the hash fits."""
        return (link.algorithm, link.key) == (self.algorithm, self.name)

    def fits(self, link: Link, fields: Mapping[str, Any]) -> bool:
        return hmac.compare_digest(self(content(fields)), link.hash)


class Chain:
    """One chain that is being written. `begun` is whether it has a record already."""

    def __init__(self, seal: Seal, tail: Tail | None = None) -> None:
        self.seal = seal
        self.tail = tail or Tail(token_hex(8), 0, "")

    @property
    def begun(self) -> bool:
        return self.tail.sequence > 0

    def line(self, fields: Mapping[str, Any], tail: Tail) -> tuple[bytes, Tail]:
        """`fields` as the line that follows on `tail`, and the new tail."""
        sequence = tail.sequence + 1
        chain: dict[str, Any] = {"id": tail.chain, "previous": tail.hash or None, "algorithm": self.seal.algorithm}
        if self.seal.name:
            chain["key"] = self.seal.name
        event = {**fields["event"], "id": f"{tail.chain}.{sequence}", "sequence": sequence}
        full = {**fields, "event": event, "telemetry_mcp": {**fields["telemetry_mcp"], "chain": chain}}
        event["hash"] = self.seal(written(full))
        return written(full), Tail(tail.chain, sequence, event["hash"])


def resumed(seal: Seal, last: bytes | None, known: Tail | None) -> tuple[Chain, Tail | None]:
    """The chain that goes on after the `last` line in the spool, `known` being the tail that was noted beside it.

    Where it cannot go on (the line is missing or was made with another key, or records after it are gone) a new
    one is begun; then the second is the tail that its first record names.
    """
    if last is None:
        return Chain(seal), known
    try:
        fields = orjson.loads(last)
        link = link_of(fields)
    except ValueError:
        return Chain(seal), known
    if known is not None and known.chain == link.chain and known.sequence > link.sequence:
        return Chain(seal), known
    if seal.made(link) and seal.fits(link, fields):
        return Chain(seal, link.tail), None
    return Chain(seal), link.tail


def link_of(fields: Any) -> Link:
    """ValueError for what carries no place in a chain."""
    try:
        event, chain = fields["event"], fields["telemetry_mcp"]["chain"]
        made = Link(
            chain=chain["id"],
            sequence=event["sequence"],
            previous=chain["previous"],
            hash=event["hash"],
            algorithm=chain["algorithm"],
            key=chain.get("key"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no record of a chain: {error!r}") from error
    texts = (made.chain, made.hash, made.algorithm, made.previous or "", made.key or "")
    if not (type(made.sequence) is int and all(isinstance(text, str) and text.isascii() for text in texts)):
        raise ValueError("no record of a chain: wrong types")
    return made


def content(fields: Mapping[str, Any]) -> bytes:
    """What the hash of a record is made over: the whole line but the hash."""
    event = {name: value for name, value in fields["event"].items() if name != "hash"}
    return written({**fields, "event": event})


def tail_from(document: object) -> Tail | None:
    """A tail as `asdict` writes it; None where it is none."""
    if not isinstance(document, dict):
        return None
    chain, sequence, hashed = (document.get(name) for name in ("chain", "sequence", "hash"))
    if isinstance(chain, str) and type(sequence) is int and isinstance(hashed, str):
        return Tail(chain, sequence, hashed)
    return None


def tail_document(tail: Tail | None) -> dict[str, Any]:
    return {} if tail is None else asdict(tail)
