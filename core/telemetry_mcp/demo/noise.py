"""Reproducible noise: a hash of the time instead of a random generator, so that a value needs no history."""

import hashlib

import numpy as np
from numpy.typing import NDArray

# splitmix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
# Mean and deviation of the sum of four independent 16-bit integers.
_SUM_MEAN = 2 * 65535.0
_SUM_DEVIATION = float(np.sqrt((65536.0**2 - 1) / 3))


def salt(*parts: object) -> int:
    """A 63-bit number which stands for `parts`, the same in every process."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def normal(steps: NDArray[np.int64], key: int) -> NDArray[np.float64]:
    """Nearly normal noise (mean 0, deviation 1, never beyond 3.5), one value for each integer in `steps`."""
    mixed = (steps.astype(np.uint64) + np.uint64(key)) * _GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    mixed ^= mixed >> np.uint64(31)
    quarters = mixed.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return np.asarray((quarters - _SUM_MEAN) / _SUM_DEVIATION)


def wander(times_ms: NDArray[np.int64], period_ms: int, key: int) -> NDArray[np.float64]:
    """Slow noise (mean 0, deviation below 1) which moves in a straight line from one knot to the next."""
    knots = times_ms // period_ms
    part = (times_ms - knots * period_ms) / period_ms
    return normal(knots, key) * (1 - part) + normal(knots + 1, key) * part
