"""The queries of PromQL, answered from what the emulated Prometheus has stored."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.prometheus_store import Labels, Values, stored
from telemetry_mcp.demo.promql import (
    Aggregation,
    Call,
    Comparison,
    Expression,
    Number,
    Scaling,
    Selector,
    SetOperation,
)

_LOOKBACK_MS = 300_000
_SCRAPE_MS = 15_000
_MOST_SAMPLES = 60
_REDUCE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sum": lambda rows: rows.sum(axis=0),
    "avg": lambda rows: rows.mean(axis=0),
    "min": lambda rows: rows.min(axis=0),
    "max": lambda rows: rows.max(axis=0),
}

Vector = list[tuple[Labels, NDArray[np.float64]]]


class Engine:
    """Evaluates a query over the series of one server."""

    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock

    def matching(self, selectors: list[Expression]) -> Iterator[Labels]:
        """The label sets that any of the selectors names, or all."""
        for labels, _ in self._all():
            if not selectors or any(isinstance(tree, Selector) and _fits(tree, labels) for tree in selectors):
                yield labels

    def known(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the times are in the history, or so short after it that its last samples count."""
        return (times >= self._estate.start_ms) & (times <= self._clock() + _LOOKBACK_MS)

    def evaluate(self, tree: Expression, times: NDArray[np.int64]) -> Vector:
        """Series and their values at `times`; NaN: none."""
        scraped = np.minimum(times, self._clock())
        if isinstance(tree, Number):
            return [({}, np.full(len(times), tree.value))]
        if isinstance(tree, Selector):
            return [(labels, values(scraped)) for labels, values in self._found(tree)]
        if isinstance(tree, Call):
            return [(labels, over(tree, values, scraped)) for labels, values in self._found(tree.selector)]
        if isinstance(tree, SetOperation):
            return combined(tree, self.evaluate(tree.left, times), self.evaluate(tree.right, times))
        inner = self.evaluate(tree.inner, times)
        if isinstance(tree, Comparison):
            return [(labels, np.where(values > tree.number, values, np.nan)) for labels, values in inner]
        if isinstance(tree, Scaling):
            factor = tree.number if tree.operator == "*" else 1 / tree.number if tree.number else np.inf
            return [(_nameless(labels), values * factor) for labels, values in inner]
        return _aggregate(tree, inner)

    def _found(self, selector: Selector) -> Iterator[tuple[Labels, Values]]:
        return ((labels, values) for labels, values in self._all() if _fits(selector, labels))

    def _all(self) -> Iterator[tuple[Labels, Values]]:
        return stored(self._estate, self._clock())


def over(call: Call, values: Values, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a function makes of the samples in the range before each time."""
    if call.function == "increase":
        return values(times) - values(times - call.range_ms)
    apart = max(_SCRAPE_MS, call.range_ms // _MOST_SAMPLES)
    back = np.arange(0, call.range_ms, apart)
    samples = values((times[:, None] - back).ravel()).reshape(len(times), len(back))
    there = ~np.isnan(samples)
    if call.function == "count_over_time":
        return np.where(there.any(axis=1), there.sum(axis=1), np.nan)
    newest = samples[np.arange(len(times)), there.argmax(axis=1)]
    return np.asarray(newest)


def combined(tree: SetOperation, left: Vector, right: Vector) -> Vector:
    """`and`: the left where the right is; `or`: the left, and the right where no left is."""

    def key(labels: Labels) -> frozenset[tuple[str, str]]:
        return frozenset((name, text) for name, text in _nameless(labels).items() if name not in tree.ignoring)

    lefts, rights = ({key(labels): values for labels, values in side} for side in (left, right))
    if tree.operator == "and":
        both = [(labels, values, rights.get(key(labels))) for labels, values in left]
        return [
            (labels, np.where(np.isnan(there), np.nan, values))
            for labels, values, there in both
            if there is not None
        ]
    lone = [(labels, values, lefts.get(key(labels))) for labels, values in right]
    filled = [
        (labels, values if there is None else np.where(np.isnan(there), values, np.nan))
        for labels, values, there in lone
    ]
    return [*left, *filled]


def _aggregate(tree: Aggregation, inner: Vector) -> Vector:
    groups: dict[tuple[tuple[str, str], ...], list[NDArray[np.float64]]] = {}
    for labels, values in inner:
        key = tuple((label, labels[label]) for label in tree.by if label in labels)
        groups.setdefault(key, []).append(values)
    reduce = _REDUCE[tree.operator]
    return [(dict(key), reduce(np.stack(rows))) for key, rows in groups.items()]


def _fits(selector: Selector, labels: Labels) -> bool:
    return all(matcher.fits(labels) for matcher in selector.matchers)


def _nameless(labels: Labels) -> Labels:
    return {name: value for name, value in labels.items() if name != "__name__"}
