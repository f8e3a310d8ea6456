"""The table of what tokens and keys look like holds together with those who look for them."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry_mcp.access.redaction import SECRET, redact
from telemetry_mcp.audit.mask import HIDDEN, masked_text
from telemetry_mcp.credential import SHAPES, Shape

FEW = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
KEYS = [shape for shape in SHAPES if shape.start != "-----"]
"""A key in PEM holds any text, and has tests of its own."""


def of(start: str, body: str) -> st.SearchStrategy[str]:
    return st.from_regex(re.compile(start + body, re.ASCII), fullmatch=True)


@pytest.mark.parametrize("shape", [s for s in KEYS if s.sure], ids=lambda shape: shape.start)
def test_what_surely_is_a_secret_is_hinted_at_and_taken_out_of_what_is_told(shape: Shape) -> None:
    @FEW
    @given(of(shape.start, shape.sure or ""))
    def taken_out(text: str) -> None:
        assert any(hint in text.lower() for hint in shape.hints)
        assert redact(f"see {text} there").startswith(f"see {SECRET}")

    taken_out()


@pytest.mark.parametrize("shape", [s for s in KEYS if s.maybe], ids=lambda shape: shape.start)
def test_what_may_be_a_secret_is_not_written_down(shape: Shape) -> None:
    @FEW
    @given(of(shape.start, shape.maybe or ""))
    def hidden(text: str) -> None:
        assert masked_text(f"see {text} there").startswith(f"see {HIDDEN}")

    hidden()
