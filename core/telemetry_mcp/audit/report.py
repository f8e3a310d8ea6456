"""What verifying found: chains, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["unreadable", "changed", "inserted", "removed", "reordered", "head", "tail", "unsigned", "key"]


@dataclass(slots=True)
class Fault:
    """`where` is the file, or whatever else the lines came from; `line` counts from 1."""

    kind: Kind
    where: str
    line: int
    text: str


@dataclass(slots=True)
class ChainReport:
    """One chain. `checked` is whether its hashes could be checked: signed ones need their key; without it only the
    order is looked at, and that is a fault. `dropped` are missing records of which a later one says that there was
    no room for them. `first` and `last` are times; `ended` is whether the newest record is the server's farewell.
    """

    chain: str
    instance: str
    signed: bool
    checked: bool
    records: int = 0
    duplicates: int = 0
    dropped: int = 0
    first: str = ""
    last: str = ""
    ended: bool = False
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """`faults` belong to no chain."""

    chains: list[ChainReport] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.faults or any(chain.faults for chain in self.chains))
