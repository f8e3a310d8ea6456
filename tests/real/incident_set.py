"""Real and realistic incidents with a known root cause, and the rules by which a ranking is measured on them.

The data lie beside the repository, in ../shared; `ABSENT` says so where they do not.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from telemetry_mcp.analysis.signal import Change, Kind, Signal, kind_of

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = SHARED / "data"
ABSENT = "" if DATA.is_dir() else "the labelled incidents of ../shared are not here"

TOP = 5
PETSHOP_STEP_MS = 300_000
NEZHA_LATE_MS = 60_000
NEZHA_AFTER_MS = 300_000
NEZHA_BEFORE_MS = 1_200_000


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """An incident, the `root` service, and of a bad deployment its `culprit`, the id of a change."""

    name: str
    page_ms: int
    signals: tuple[Signal, ...]
    root: str
    fault: str
    symptom: tuple[str, Kind] | None = None
    dependencies: tuple[tuple[str, str], ...] = ()
    changes: tuple[Change, ...] = ()
    culprit: str | None = None


def average_at(places: Sequence[int | None], top: int = TOP) -> float:
    """Avg@5: the mean over k = 1..5 of the share of incidents whose root stands among the first k.

    A place counts from 0; None is "not in the list".
    """
    hits = [sum(place is not None and place < k for place in places) / len(places) for k in range(1, top + 1)]
    return sum(hits) / top


def top_share(places: Sequence[int | None], top: int) -> float:
    """The share of incidents whose root stands among the first `top`."""
    return sum(place is not None and place < top for place in places) / len(places)


def place_of(root: str, services: Sequence[str]) -> int | None:
    return services.index(root) if root in services else None


# ---- PetShop: five-minute points, a call graph, the normal hours of another day put before each incident


@cache
def petshop(traffic: str) -> tuple[Labelled, ...]:
    """The incidents of "low" or "high" traffic."""
    folder = DATA / "petshop" / f"{traffic}_traffic"
    normal = _petshop_table(gzip.decompress((folder / "noissue_metrics.csv.gz").read_bytes()).decode())
    graph = tuple(_edges((folder / "graph.csv").read_text(encoding="utf-8")))
    return tuple(_petshop_issue(path, normal, graph) for path in sorted(folder.glob("issue_*")))


Column = tuple[str, str, str]
Table = tuple[np.ndarray[Any, Any], dict[Column, np.ndarray[Any, Any]]]


def _petshop_issue(path: Path, normal: Table, graph: tuple[tuple[str, str], ...]) -> Labelled:
    target = json.loads((path / "target.json").read_text(encoding="utf-8"))
    times, columns = _petshop_table((path / "metrics.csv").read_text(encoding="utf-8"))
    before, its_columns = normal
    shifted = before - before[-1] + times[0] - PETSHOP_STEP_MS
    signals = []
    for key, values in columns.items():
        usual = its_columns.get(key, np.full(len(before), np.nan))
        service, metric, statistic = key
        signals.append(
            Signal(
                service,
                f"{metric} {statistic}",
                _PETSHOP_KINDS[metric],
                np.concatenate((shifted, times)),
                np.concatenate((usual, values)),
            )
        )
    symptom = target["target"]
    return Labelled(
        f"{path.parent.name}/{path.name}",
        int(symptom["timestamp"]) * 1000,
        tuple(signals),
        target["root_cause"]["node"],
        symptom["metric"],
        (symptom["node"], _PETSHOP_KINDS[symptom["metric"]]),
        graph,
    )


_PETSHOP_KINDS: dict[str, Kind] = {"latency": "latency", "availability": "availability", "requests": "traffic"}


def _petshop_table(text: str) -> Table:
    """A column a service, metric and statistic, under three rows of heads and an empty fourth."""
    rows = list(csv.reader(text.splitlines()))
    body = np.array([[float(cell or "nan") for cell in row] for row in rows[4:]])
    heads = list(zip(*(row[1:] for row in rows[:3]), strict=True))
    columns = {(a, b, c): body[:, place + 1] for place, (a, b, c) in enumerate(heads)}
    return (body[:, 0] * 1000).astype(np.int64), columns


def _edges(text: str) -> Iterable[tuple[str, str]]:
    """A row calls those columns in which it has a 1."""
    head, *rows = csv.reader(text.splitlines())
    for row in rows:
        yield from ((row[0], callee) for callee, cell in zip(head[1:], row[1:], strict=True) if float(cell))


# ---- Nezha: one-minute points of the pods, a fault every eight minutes or so


@cache
def nezha(day: str) -> tuple[Labelled, ...]:
    """2022-08-22 is Online Boutique, 2023-01-29 Train Ticket. The page comes a minute after the injection, and
    one looks five minutes after it; a fault with less than twenty minutes of data before it is left out."""
    folder = DATA / "nezha" / day
    signals = [one for path in sorted(folder.glob("*_metric.csv.gz")) for one in _pod(path)]
    edges = tuple(_calls(folder / "dependency.csv.gz"))
    faults = json.loads((folder / "fault_list.json").read_text(encoding="utf-8"))
    first = min(int(signal.timestamps_ms[0]) for signal in signals)
    return tuple(
        _nezha_fault(fault, signals, edges)
        for hour in faults.values()
        for fault in hour
        if _ms(fault["inject_time"]) - first >= NEZHA_BEFORE_MS
    )


def _nezha_fault(fault: dict[str, str], signals: list[Signal], edges: tuple[tuple[str, str], ...]) -> Labelled:
    injected = _ms(fault["inject_time"])
    seen = tuple(_until(signal, injected + NEZHA_AFTER_MS) for signal in signals)
    page_ms = injected + NEZHA_LATE_MS
    return Labelled(
        f"{fault['inject_time']} {fault['inject_type']}",
        page_ms,
        seen,
        service_of_pod(fault["inject_pod"]),
        fault["inject_type"],
        dependencies=edges,
    )


def _until(signal: Signal, end_ms: int) -> Signal:
    seen = signal.timestamps_ms <= end_ms
    return Signal(signal.service, signal.metric, signal.kind, signal.timestamps_ms[seen], signal.values[seen])


def service_of_pod(pod: str) -> str:
    return pod.rsplit("-", 2)[0]


def _pod(path: Path) -> Iterable[Signal]:
    head, *rows = csv.reader(gzip.decompress(path.read_bytes()).decode().splitlines())
    times = np.array([_ms(row[0]) for row in rows], dtype=np.int64)
    service = service_of_pod(path.name.removesuffix("_metric.csv.gz"))
    for place, metric in enumerate(head[3:], start=3):
        if not metric.startswith("Node"):
            values = np.array([float(row[place] or "nan") for row in rows])
            yield Signal(service, metric, kind_of(metric), times, values)


def _calls(path: Path) -> Iterable[tuple[str, str]]:
    if path.exists():
        rows = csv.reader(gzip.decompress(path.read_bytes()).decode().splitlines())
        yield from ((row[0], row[1]) for row in list(rows)[1:])


def _ms(text: str) -> int:
    return int(np.datetime64(text[:19].replace(" ", "T"), "ms").astype(np.int64))


# ---- RootCauseBench: one-minute points, an alert, deployments with decoys among them


@cache
def rootcausebench() -> tuple[Labelled, ...]:
    return tuple(_scenario(path.parent) for path in sorted((DATA / "rootcausebench").glob("*/alert.json")))


def _scenario(folder: Path) -> Labelled:
    alert, truth, deploys, spans = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("alert.json", "ground_truth.json", "context/deploys.json", "traces.json")
    )
    changes = tuple(Change(one["service"], _iso(one["timestamp"]), one["commit_sha"]) for one in deploys)
    known = truth["root_cause_commit"] in {change.id for change in changes}
    return Labelled(
        folder.name,
        _iso(alert["fired_at"]),
        tuple(_scenario_signals(folder / "metrics.csv")),
        truth["first_failing_service"],
        "deployment" if known else "other",
        (alert["service"], kind_of(alert["metric"])),
        _calls_of_spans(spans),
        changes,
        truth["root_cause_commit"] if known else None,
    )


def _scenario_signals(path: Path) -> Iterable[Signal]:
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for at, service, metric, value in list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]:
        found.setdefault((service, metric), []).append((_iso(at), float(value or "nan")))
    for (service, metric), points in found.items():
        times, values = (np.array(column) for column in zip(*points, strict=True))
        yield Signal(service, metric, kind_of(metric), times.astype(np.int64), values)


def _calls_of_spans(spans: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    owner = {(span["trace_id"], span["span_id"]): span["service"] for span in spans}
    pairs = {(owner.get((span["trace_id"], span["parent_id"])), span["service"]) for span in spans}
    return tuple(sorted((caller, callee) for caller, callee in pairs if caller and caller != callee))


def _iso(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
