"""Runs a detector over series: the built-in one, or one that a plugin brought, through the same episodes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import DEFAULT_SENSITIVITY, TAU, Detection, Episode, Options, detect, episodes
from telemetry_mcp.analysis.episode import LARGEST_SCORE, gaps
from telemetry_mcp.analysis.sample import clean as settled
from telemetry_mcp.boundary import contain
from telemetry_mcp.catalog import echo, suggest
from telemetry_mcp.detector import Detector
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.registry import Registry
from telemetry_mcp.text import clean


@dataclass(frozen=True, slots=True)
class Judge:
    """What tells the unusual from the ordinary. Without a `detector` it is the built-in one."""

    options: Options = field(default_factory=Options)
    name: str = ""
    detector: Detector | None = None

    def detection(self, times: NDArray[np.int64], values: NDArray[np.float64]) -> Detection:
        """What is unusual in one series; `times` are epoch ms. What a plugin's detector raises is the reason why
        nothing can be said of it. It takes as long as that detector likes: for a worker thread."""
        if self.detector is None:
            return detect(times, values, **asdict(self.options))
        return self.scored(self.detector, times, values)

    def scored(self, detector: Detector, times: NDArray[np.int64], values: NDArray[np.float64]) -> Detection:
        """What a plugin's detector says. The season and the guard are its own affair, the other options hold."""
        options, samples = self.options, settled(times, values)
        threshold = TAU * options.sensitivity / DEFAULT_SENSITIVITY
        nothing = np.full(len(values), np.nan)
        expected = np.full(len(values), np.median(samples.values)) if samples.values.size else nothing
        found: tuple[Episode, ...] = ()
        reason = "it gave no score"
        with contain(passing=()) as kept:
            scores = fit(detector.score(times.copy(), values.copy(), causal=options.polled), len(values))
            if np.isfinite(scores).any():
                reason = ""
                found = episodes(
                    times,
                    values,
                    scores,
                    threshold=threshold,
                    expected=expected,
                    direction=options.direction,
                    min_relative=options.min_relative,
                )
        if kept.error is not None:
            failure = clean(f"{type(kept.error).__name__}: {kept.error}")
            reason = f"the detector {self.name} failed: {failure}"
        return Detection(
            episodes=found,
            expected=expected,
            lower=nothing,
            upper=nothing,
            confidence="none" if reason else "normal",
            reason=reason,
            scale=None,
            method=self.name,
            threshold=threshold,
            points=samples.values.size,
            missing=samples.missing,
            gaps=gaps(samples),
        )


def judge(registry: Registry, name: str | None, options: Options) -> Judge:
    """The judge that `name` means; QuestionError with the valid names, or with why it cannot be used."""
    if name is None:
        return Judge(options)
    if name in registry.detectors:
        return Judge(options, name, registry.detectors[name])
    for absent in registry.unusable:
        if absent.name == name:
            raise QuestionError(f"the detector {name} cannot be used: {absent.reason}. To mend it: {absent.fix}")
    raise QuestionError(f"no detector is called {echo(name)}{suggest(name, registry.detectors)}")


def fit(scores: object, length: int) -> NDArray[np.float64]:
    """The scores as the contract has them, at most as large as the built-in ones. Raises TypeError when they are
    no numbers, or not one a point."""
    array = np.asarray(scores)
    if array.shape != (length,):
        raise TypeError(f"score must return one number a point: {length}, not {array.shape}")
    return np.minimum(array.astype(np.float64, casting="same_kind"), LARGEST_SCORE)
