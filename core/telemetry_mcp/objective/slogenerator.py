"""slo-generator v2 documents (https://github.com/google/slo-generator) as tables of `[slos.<name>]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from telemetry_mcp.objective import promql
from telemetry_mcp.objective.document import Backend, DocumentError, Node, Table
from telemetry_mcp.objective.setting import Amounts

API = "sre.google.com/v2"
WINDOW_S = 28 * 86_400.0
"""An SLO of slo-generator has no window: its policy's steps have. This is the longest of the usual policy."""


def table(document: Node) -> tuple[str, Table, Backend]:
    """The objective of one document: name, table, and where its queries are to be asked. Raises DocumentError."""
    document.at("kind").one_of("ServiceLevelObjective")
    spec = document.at("spec")
    backend = spec.at("backend").text()
    kind = backend.partition("/")[0].lower()
    if kind not in READERS:
        raise spec.at("backend").wrong(f"Read are those of {', '.join(READERS)}")
    sli = spec.at("service_level_indicator")
    method = spec.at("method").one_of(*READERS[kind])
    made = {
        "service": document.at("metadata", "labels", "service_name").text(),
        "objective": percent(spec.at("goal")),
        "window": WINDOW_S,
        **READERS[kind][method](sli),
    }
    if spec.at("description"):
        made["description"] = spec.at("description").text()
    return document.at("metadata", "name").text(), made, Backend(backend, kind)


def percent(goal: Node) -> float:
    try:
        return float(Decimal(goal.text()) * 100)
    except InvalidOperation:
        raise goal.wrong("It must be a number such as 0.999") from None


def prometheus_ratio(sli: Node) -> Table:
    """By default the sum of increases: then, and with rates, as many events a second."""
    operators = [node.text() for node in sli.at("operators").items()] or ["increase", "sum"]
    rates = operators[0] in ("increase", "rate")

    def asked(selector: Node) -> str:
        query = promql.ranged(selector.text())
        for operator in ["rate", *operators[1:]] if rates else operators:
            query = f"{operator}({query})"
        return query

    return events(sli, "filter", asked, "rate" if rates else "count")


def prometheus_cut(sli: Node) -> Table:
    """Requests in the buckets up to a threshold, of all that were counted."""
    expression = sli.at("expression").text()
    bound = sli.at("threshold_bucket").text()
    labels = expression.removesuffix("}").rstrip(", ") + ", " if expression.endswith("}") else f"{expression}{{"
    good = f'{labels}le="{bound}"}}'
    total = expression.replace("_bucket", "_count")
    return {"good": promql.rate(good), "total": promql.rate(total), "amounts": "rate"}


def prometheus_sli(sli: Node) -> Table:
    expression = sli.at("expression").text()
    return {"ratio": promql.WINDOW.sub(promql.RANGE, " ".join(expression.split()))}


def datadog_ratio(sli: Node) -> Table:
    operator = sli.at("operator").value or "sum"
    suffix = sli.at("operator_suffix").value or "as_count()"
    return events(sli, "query", lambda node: f"{operator}:{node.text()}.{suffix}", "count")


def datadog_sli(sli: Node) -> Table:
    return {"ratio": " ".join(sli.at("query").text().split())}


def events(sli: Node, prefix: str, query: Callable[[Node], str], amounts: Amounts) -> Table:
    found: Table = {"good": query(sli.at(f"{prefix}_good")), "amounts": amounts}
    if sli.at(f"{prefix}_bad"):
        return {**found, "bad": query(sli.at(f"{prefix}_bad"))}
    if sli.at(f"{prefix}_valid"):
        return {**found, "total": query(sli.at(f"{prefix}_valid"))}
    raise DocumentError(sli.path, f"has no {prefix}_bad", f"It needs {prefix}_bad or {prefix}_valid")


READERS: Mapping[str, Mapping[str, Callable[[Node], Table]]] = {
    "prometheus": {
        "good_bad_ratio": prometheus_ratio,
        "distribution_cut": prometheus_cut,
        "query_sli": prometheus_sli,
    },
    "datadog": {"good_bad_ratio": datadog_ratio, "query_sli": datadog_sli},
}
"""Backend and method -> what reads its indicator."""
