"""What every analysis does first: sort a series, drop what is not a number, settle duplicates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Timestamps = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A clean series: strictly increasing `timestamps_ms`, finite `values`.

    `index` says where each of them stood in the input; `missing` counts the input points without a number.
    """

    timestamps_ms: Timestamps
    values: Values
    index: NDArray[np.int64]
    missing: int


def clean(timestamps_ms: Timestamps, values: Values) -> Samples:
    """Sort by time, drop NaN and infinity, and of equal timestamps keep the last that has a number.

    Raises ValueError unless both arrays are one-dimensional and of one length.
    """
    times = np.asarray(timestamps_ms, dtype=np.int64)
    numbers = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.shape != numbers.shape:
        raise ValueError(f"timestamps and values must be flat and equally long: {times.shape}, {numbers.shape}")
    index = np.flatnonzero(np.isfinite(numbers)).astype(np.int64)
    missing = times.size - index.size
    if np.any(np.diff(times[index]) <= 0):
        index = index[np.argsort(times[index], kind="stable")]
        index = index[np.append(np.diff(times[index]) > 0, True)]
    return Samples(times[index], numbers[index], index, missing)


def median_step_ms(timestamps_ms: Timestamps) -> float | None:
    """The usual distance between two neighbours of a clean series; None for fewer than two points."""
    return float(np.median(np.diff(timestamps_ms))) if timestamps_ms.size > 1 else None
