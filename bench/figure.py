"""One line of the bench table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is what the limit is about: measured over reference, or measured itself without a reference."""

    what: str
    measured: float
    unit: str
    limit: float
    reference: float | None = None
    reference_name: str = ""
    relation: Literal["<=", ">="] = "<="

    @property
    def value(self) -> float:
        return self.measured / self.reference if self.reference else self.measured

    @property
    def ok(self) -> bool:
        return self.value <= self.limit if self.relation == "<=" else self.value >= self.limit

    @property
    def reference_text(self) -> str:
        return f"{self.reference_name}: {self.reference:.4g} {self.unit}" if self.reference else "-"
