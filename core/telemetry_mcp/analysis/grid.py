"""Equal slices of time, and amounts spread over them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.bucket import integral
from telemetry_mcp.analysis.sample import Timestamps, Values


@dataclass(frozen=True, slots=True)
class Grid:
    """The slices of `slice_ms` that make up `start_ms`..`end_ms`, aligned to the epoch.

    Raises ValueError when there is none, or when start or end is no multiple of `slice_ms`.
    """

    start_ms: int
    end_ms: int
    slice_ms: int

    def __post_init__(self) -> None:
        if self.slice_ms <= 0 or self.start_ms % self.slice_ms or self.end_ms % self.slice_ms:
            raise ValueError(f"slices of {self.slice_ms} ms do not fit {self.start_ms} .. {self.end_ms}")
        if self.end_ms <= self.start_ms:
            raise ValueError(f"a window must end after it starts: {self.start_ms} .. {self.end_ms}")

    @property
    def size(self) -> int:
        """How many slices there are."""
        return (self.end_ms - self.start_ms) // self.slice_ms

    @property
    def edges(self) -> Timestamps:
        """Where slices begin and end: one more than there are slices."""
        return np.arange(self.start_ms, self.end_ms + 1, self.slice_ms, dtype=np.int64)

    def place(self, timestamps_ms: Timestamps) -> NDArray[np.int64]:
        """The index of the slice in which each instant lies; below 0 or at least `size` outside the grid."""
        return (timestamps_ms - self.start_ms) // self.slice_ms

    def spread(self, starts: Timestamps, stops: Timestamps, amounts: Values) -> Values:
        """The amount that falls in each slice, each spread evenly over its own start..stop.

        The stretches must be sorted and must not overlap. Whole numbers whose stretches end at edges stay exact.
        """
        if not starts.size:
            return np.zeros(self.size)
        knots = np.column_stack([starts, stops]).ravel()
        return np.maximum(np.diff(integral(knots, amounts, self.edges)), 0.0)
