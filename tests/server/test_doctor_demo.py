"""`telemetry-mcp doctor --demo`: the embedded estate is well, and each fault that it is told to have is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from telemetry_mcp.cli import app

pytestmark = pytest.mark.usefixtures("own_log")


def of_demo(*faults: str) -> tuple[int, dict[str, Any]]:
    words = [word for fault in faults for word in ("--fault", fault)]
    result = CliRunner().invoke(app, ["doctor", "--demo", "--json", *words])
    return result.exit_code, json.loads(result.stdout)


def status(document: dict[str, Any]) -> dict[str, str]:
    return {source["source"]: source["status"] for source in document["sources"]}


def test_the_estate_has_no_fault_and_every_metric_of_its_configuration_has_data() -> None:
    code, document = of_demo()
    assert code == 0
    assert set(status(document).values()) <= {"ok"}
    metrics = [metric for source in document["sources"] for metric in source["metrics"] if not metric["preset"]]
    assert len(metrics) >= 15
    assert {metric["status"] for metric in metrics} == {"data"}
    assert all(metric["services"] > 0 and metric["latency_ms"] > 0 for metric in metrics)


def test_every_fault_of_the_estate_is_named_at_its_source() -> None:
    code, document = of_demo(
        "prometheus=html", "datadog=status:403", "newrelic=rate_limit:30", "pagerduty=status:401"
    )
    assert code == 1
    assert status(document) == dict.fromkeys(("prometheus", "datadog", "newrelic", "pagerduty"), "fault")
    said = {name: [e["detail"] for e in document["fixes"] if e["source"] == name] for name in status(document)}
    for name, words in {"prometheus": "not JSON", "datadog": "403", "newrelic": "429", "pagerduty": "401"}.items():
        assert any(words in detail for detail in said[name]), said[name]
