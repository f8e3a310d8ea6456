"""The built-in detector and a plugin's: the same episodes, the same options."""

from asyncio import CancelledError
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp import Detector, PluginSettings
from telemetry_mcp.analysis.anomaly import Gap, Options, detect
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.judge import Judge, judge
from telemetry_mcp.registry import Absent, Registry

MINUTE = 60_000
START = 1_700_006_400_000

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]


def series(count: int = 400) -> tuple[Times, Numbers]:
    values = 100 + np.random.default_rng(1).normal(size=count)
    values[100], values[300] = 150, 60
    return START + np.arange(count, dtype=np.int64) * 5 * MINUTE, values


class Distance(Detector):
    """Scores the distance from 100."""

    def __init__(self) -> None:
        super().__init__(PluginSettings(plugin="distance"))
        self.causal: set[bool] = set()

    def score(self, timestamps_ms: Times, values: Numbers, *, causal: bool = False) -> Numbers:
        self.causal.add(causal)
        scores = np.abs(values - 100) / 2
        timestamps_ms[:] = 0
        values[:] = 0
        return scores


class Broken(Distance):
    def score(self, timestamps_ms: Times, values: Numbers, *, causal: bool = False) -> Numbers:
        raise RuntimeError("out of\x1b ideas")


class Short(Distance):
    def score(self, timestamps_ms: Times, values: Numbers, *, causal: bool = False) -> Numbers:
        return values[:-1]


class Silent(Distance):
    def score(self, timestamps_ms: Times, values: Numbers, *, causal: bool = False) -> Numbers:
        return np.full(len(values), np.nan)


def test_the_built_in_detector_gets_every_option() -> None:
    at, values = series()
    options = Options(sensitivity=2.0, direction="down", min_relative=0.3, period="none", guard=False, polled=True)
    detection = Judge(options).detection(at, values)
    direct = detect(
        at, values, sensitivity=2.0, direction="down", min_relative=0.3, period="none", guard=False, polled=True
    )
    assert (detection.episodes, detection.threshold) == (direct.episodes, direct.threshold)
    assert [episode.value for episode in detection.episodes] == [60]


def test_a_plugins_scores_become_episodes_by_the_same_rules() -> None:
    at, values = series()
    at[200:] += 100 * MINUTE
    values[250] = np.nan
    detection = Judge(Options(), "distance", Distance()).detection(at, values)
    assert [(e.value, e.direction, e.deviation) for e in detection.episodes] == [(150, "up", 25), (60, "down", 20)]
    assert (detection.method, detection.confidence, detection.missing) == ("distance", "normal", 1)
    assert detection.gaps == (Gap(int(at[199]), int(at[200])),)


def test_a_plugin_is_told_the_options_that_hold_for_it() -> None:
    detector = Distance()
    options = Options(sensitivity=10.5, direction="up", polled=True)
    detection = Judge(options, "distance", detector).detection(*series())
    assert detection.threshold == pytest.approx(22.75)
    assert [episode.value for episode in detection.episodes] == [150]
    assert detector.causal == {True}
    strict = Judge(replace(options, min_relative=0.6), "distance", detector)
    assert strict.detection(*series()).episodes == ()


class Given(Distance):
    """Gives what it was made with."""

    def __init__(self, scores: Any) -> None:
        super().__init__()
        self.scores = scores

    def score(self, timestamps_ms: Any, values: Any, *, causal: bool = False) -> Any:
        return self.scores


@pytest.mark.parametrize("score", [1e300, np.inf])
def test_no_deviation_is_larger_than_the_largest_of_the_built_in_detector(score: float) -> None:
    at, values = series()
    scores = np.zeros(len(values))
    scores[200] = score
    detection = Judge(Options(min_relative=0), "own", Given(scores)).detection(at, values)
    assert [episode.deviation for episode in detection.episodes] == [99]


@pytest.mark.parametrize(
    "scores", [np.zeros(400, complex), ["0"] * 400, [None] * 400, None, (0 for _ in range(400))]
)
def test_scores_that_are_no_numbers_are_refused(scores: Any) -> None:
    detection = Judge(Options(), "own", Given(scores)).detection(*series())
    assert (detection.episodes, detection.confidence) == ((), "none")
    assert detection.reason.startswith("the detector own failed: ")


@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt, GeneratorExit, SystemExit, StopIteration])
def test_nothing_that_a_detector_raises_ends_the_call(error: type[BaseException]) -> None:
    class Ending(Distance):
        def score(self, timestamps_ms: Times, values: Numbers, *, causal: bool = False) -> Numbers:
            raise error

    detection = Judge(Options(), "own", Ending()).detection(*series())
    assert detection.reason.startswith(f"the detector own failed: {error.__name__}")


@pytest.mark.parametrize(
    ("detector", "reason"),
    [
        (Broken, "the detector own failed: RuntimeError: out of ideas"),
        (Short, "the detector own failed: TypeError: score must return one number a point: 400, not (399,)"),
        (Silent, "it gave no score"),
    ],
)
def test_a_detector_that_fails_says_why_and_finds_nothing(detector: type[Distance], reason: str) -> None:
    detection = Judge(Options(), "own", detector()).detection(*series())
    assert (detection.episodes, detection.confidence, detection.reason) == ((), "none", reason)


def test_a_series_without_a_number_is_not_judged() -> None:
    at, values = series()
    for by in (Judge(), Judge(Options(), "distance", Distance())):
        detection = by.detection(at, np.full(len(values), np.nan))
        assert (detection.episodes, detection.confidence) == ((), "none")


def test_a_detector_is_meant_by_its_name() -> None:
    detector = Distance()
    registry = Registry(
        (), detectors={"distance": detector}, unusable=(Absent("gone", "gone", True, "no GPU", "buy one"),)
    )
    options = Options(sensitivity=2)
    assert judge(registry, None, options) == Judge(options)
    assert judge(registry, "distance", options) == Judge(options, "distance", detector)
    with pytest.raises(QuestionError, match=r"gone cannot be used: no GPU\. To mend it: buy one"):
        judge(registry, "gone", options)
    with pytest.raises(QuestionError, match=r"distanse.*distance"):
        judge(registry, "distanse", options)
