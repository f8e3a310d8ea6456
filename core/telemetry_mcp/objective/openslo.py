"""OpenSLO v1 documents (https://github.com/OpenSLO/OpenSLO) as tables of `[slos.<name>]`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from telemetry_mcp.objective.document import Backend, DocumentError, Node, Table
from telemetry_mcp.objective.promql import change, counter

API = "openslo/v1"
KINDS = ("SLO", "SLI", "DataSource", "Service", "AlertPolicy", "AlertCondition", "AlertNotificationTarget")
METHODS = ("Occurrences", "Timeslices", "RatioTimeslices")
COMPARISONS = {"lte": "<=", "lt": "<", "gte": ">=", "gt": ">"}
UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_592_000, "Q": 7_776_000, "Y": 31_536_000}
CALENDARS = {"d": "day", "w": "week", "M": "month", "m": "month", "Q": "quarter", "Y": "year"}
"""`1m` stands for a month in the specification's own example of a calendar window; minutes would make no sense."""


class OpenSlo:
    """The SLOs of a set of documents, which may refer to each other's SLIs and data sources."""

    def __init__(self, documents: Sequence[Node]) -> None:
        self.documents = documents
        self.indicators = {name: node.at("spec") for name, node in named(documents, "SLI")}
        self.types = {name: node.at("spec", "type").value for name, node in named(documents, "DataSource")}

    def tables(self, document: Node) -> Iterator[tuple[str, Table, Backend | None]]:
        """The objectives of one document: name, table, and where its queries are to be asked.

        Raises DocumentError for what cannot be used. A document of another kind has none.
        """
        kind, name, spec = document.at("kind").one_of(*KINDS), name_of(document), document.at("spec")
        if kind == "DataSource":
            spec.at("type").text()
        if kind != "SLO":
            return
        method = spec.at("budgetingMethod").one_of(*METHODS)
        common = {"service": spec.at("service").text(), **window(spec)}
        if spec.at("description"):
            common["description"] = spec.at("description").text()
        goals = spec.at("objectives").items()
        if not goals:
            raise DocumentError("spec.objectives", "is missing", "An SLO needs at least one objective")
        if any(goal.at("indicator") or goal.at("indicatorRef") for goal in goals):
            yield from self.composite(name, common, goals, method)
            return
        for place, goal in enumerate(goals, 1):
            table, backend = self.measured(self.indicator(spec), goal, method)
            yield name if len(goals) == 1 else f"{name}-{place}", {**common, **table, **target(goal)}, backend

    def composite(
        self, name: str, common: Table, goals: Sequence[Node], method: str
    ) -> Iterator[tuple[str, Table, Backend | None]]:
        """By time slices a moment is good where it is for all; otherwise burn rates add up, by their weights. It
        has no target of its own: the strictest of its members' (with a budget, for burn rates) stands in."""
        members: dict[str, float] = {}
        targets = []
        for place, goal in enumerate(goals, 1):
            table, backend = self.measured(self.indicator(goal), goal, method)
            targets.append(target(goal)["objective"])
            members[f"{name}-{place}"] = float(number(goal.at("compositeWeight"), "1"))
            yield f"{name}-{place}", {**common, **table, **target(goal)}, backend
        parts: Table = {"all_of": list(members)} if method == "Timeslices" else {"added": members}
        budgeted = [each for each in targets if each < 100] or targets
        yield name, {**common, **parts, "objective": max(targets if method == "Timeslices" else budgeted)}, None

    def indicator(self, node: Node) -> Node:
        """The spec of the SLI that stands here or is referred to."""
        if node.at("indicator"):
            return node.at("indicator", "spec")
        reference = node.at("indicatorRef")
        if reference and reference.text() in self.indicators:
            return self.indicators[reference.text()]
        known = ", ".join(self.indicators) or "none"
        raise reference.wrong(f"It must name an SLI of the files (there are: {known}), or write an indicator")

    def measured(self, sli: Node, goal: Node, method: str) -> tuple[Table, Backend]:
        if sli.at("thresholdMetric"):
            source = sli.at("thresholdMetric", "metricSource")
            table = {
                "metric": query_of(source),
                "threshold": float(number(goal.at("value"))),
                "comparison": COMPARISONS[goal.at("op").one_of(*COMPARISONS)],
            }
            return table | ({} if method == "Occurrences" else slice_of(goal)), self.backend(source)
        ratio = sli.at("ratioMetric")
        if ratio.at("raw"):
            if method == "Timeslices":
                valid = "Of a raw ratio it must be Occurrences or RatioTimeslices, which weigh it by time"
                raise DocumentError("spec.budgetingMethod", f"found {method!r}", valid)
            source = ratio.at("raw", "metricSource")
            kind = ratio.at("rawType").one_of("success", "failure")
            return {"ratio": query_of(source), "ratio_of": "good" if kind == "success" else "bad"}, self.backend(
                source
            )
        return self.counted(ratio, goal, method)

    def counted(self, ratio: Node, goal: Node, method: str) -> tuple[Table, Backend]:
        keys = [key for key in ("good", "bad", "total") if ratio.at(key)]
        if len(keys) != 2 or "total" not in keys:
            raise DocumentError(
                ratio.path, f"has {' and '.join(keys) or 'no queries'}", "It needs good or bad, and total"
            )
        backend = self.backend(ratio.at("total", "metricSource"))
        queries = {key: query_of(ratio.at(key, "metricSource")) for key in keys}
        table: Table = {**queries, "amounts": "counter" if ratio.at("counter").value is True else "count"}
        if backend.type == "prometheus":
            fit = counter if table["amounts"] == "counter" else change
            asked = {key: fit(query) for key, query in queries.items()}
            if all(amounts == "rate" for _, amounts in asked.values()):
                table = {**{key: query for key, (query, _) in asked.items()}, "amounts": "rate"}
        if method == "Occurrences":
            return table, backend
        if method == "RatioTimeslices":
            return {**table, **slice_of(goal), "slice_ratio": "mean"}, backend
        kept = float(number(goal.at("timeSliceTarget")) * 100)
        return {**table, **slice_of(goal), "slice_objective": kept}, backend

    def backend(self, source: Node) -> Backend:
        reference, kind = source.at("metricSourceRef"), source.at("type")
        name = reference.text() if reference else ""
        return Backend(name, (kind.text() if kind else str(self.types.get(name) or "")).lower())


def named(documents: Sequence[Node], kind: str) -> Iterator[tuple[str, Node]]:
    """Those of one kind that have a name to be referred to by."""
    for node in documents:
        name = node.at("metadata", "name").value
        if node.at("kind").value == kind and isinstance(name, str):
            yield name.strip(), node


def name_of(document: Node) -> str:
    return document.at("metadata", "name").text()


def query_of(source: Node) -> str:
    """Every vendor names its query differently; there is one text that can be it."""
    spec = source.at("spec")
    for key in ("query", "promql", "nrql", "expression", "queryString"):
        if spec.at(key):
            return spec.at(key).text()
    raise DocumentError(spec.at("query").path, "is missing", "Write the query of the source there")


def target(goal: Node) -> Table:
    """The objective in percent, exactly as its decimals say."""
    if goal.at("targetPercent"):
        return {"objective": float(number(goal.at("targetPercent")))}
    return {"objective": float(number(goal.at("target")) * 100)}


def number(node: Node, default: str | None = None) -> Decimal:
    if node.value is None and default is not None:
        return Decimal(default)
    try:
        return Decimal(node.text())
    except InvalidOperation:
        raise node.wrong("It must be a number") from None


def slice_of(goal: Node) -> Table:
    length = goal.at("timeSliceWindow")
    text = length.text()
    return {"slice": float(text) * 60 if re.fullmatch(r"\d+(\.\d+)?", text) else seconds(length)}


def window(spec: Node) -> dict[str, Any]:
    windows = spec.at("timeWindow").items()
    if not windows:
        return {}
    if len(windows) != 1:
        raise spec.at("timeWindow").wrong("It must hold exactly one window")
    only = windows[0]
    if not only.at("calendar"):
        return {"window": seconds(only.at("duration"))}
    length, unit = parts_of(only.at("duration"))
    if length != 1 or unit not in CALENDARS:
        raise only.at("duration").wrong("A calendar window is 1d, 1w, 1M, 1Q or 1Y")
    return {"calendar": CALENDARS[unit], "time_zone": only.at("calendar", "timeZone").text()}


def seconds(node: Node) -> float:
    length, unit = parts_of(node)
    return float(length * UNITS_S[unit])


def parts_of(node: Node) -> tuple[int, str]:
    found = re.fullmatch(r"(\d+)([mhdwMQY])", node.text())
    if not found:
        raise node.wrong("It must be a duration such as 5m, 4w or 1M")
    return int(found[1]), found[2]
