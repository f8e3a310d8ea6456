"""How far a ratio of few events can be trusted."""

from math import sqrt

Z95 = 1.959963984540054


def wilson(bad: float, valid: float, *, z: float = Z95) -> tuple[float, float] | None:
    """The Wilson score interval of bad over valid, 95 % by default; None where `valid` is 0.

    It holds for few events and for a ratio of 0 or 1 too (Wilson, JASA 22, 1927). It takes the events to be
    independent. Raises ValueError unless 0 <= bad <= valid.
    """
    if not 0 <= bad <= valid:
        raise ValueError(f"bad must lie between 0 and valid: {bad} of {valid}")
    if valid == 0:
        return None
    share, square = bad / valid, z * z
    centre = (share + square / (2 * valid)) / (1 + square / valid)
    half = z / (1 + square / valid) * sqrt(share * (1 - share) / valid + square / (4 * valid * valid))
    return (max(0.0, centre - half) if bad else 0.0, min(1.0, centre + half) if bad < valid else 1.0)
