"""Text that somebody else wrote comes out as one harmless line."""

import pytest

from telemetry_mcp.text import LIMIT, clean


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("", ""),
        ("two\nlines\r\n\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x00", "[31mred"),
        ("safe\u202eevil\u2066x\u2069", "safe evil x"),
        ("zero\u200bwidth\ufeff", "zero width"),
        ("para\u2029graph\u2028line", "para graph line"),
        ("lone \ud800 surrogate, private \ue000 use", "lone surrogate, private use"),
        ("Größe 温度 🔥", "Größe 温度 🔥"),
    ],
)
def test_what_could_deceive_a_reader_is_a_blank(text: str, line: str) -> None:
    assert clean(text) == line


def test_a_long_text_is_cut_and_says_so() -> None:
    assert clean("x" * LIMIT) == "x" * LIMIT
    assert clean("x" * 10_000_000) == "x" * (LIMIT - 1) + "…"
    assert clean("abcdef", 4) == "abc…"
