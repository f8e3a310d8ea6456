"""What the log looks like, for people and for machines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from telemetry_mcp.log import Ecs, Text

if TYPE_CHECKING:
    from collections.abc import Callable

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
HOSTILE = 'a\nb\r\x1b[31m\u202e\u2028\x85"\\ é \ud800'


def written(form: logging.Formatter, message: str, *args: object, error: BaseException | None = None) -> str:
    info = None if error is None else (type(error), error, error.__traceback__)
    return form.format(logging.LogRecord("a.b", logging.WARNING, "", 0, message, args, info))


def as_json(message: str, *args: object, error: BaseException | None = None) -> Any:
    line = written(Ecs(), message, *args, error=error)
    assert line.isascii()
    assert line.isprintable()
    return json.loads(line)


def in_a_trace(write: Callable[[], Any]) -> Any:
    at = SpanContext(TRACE, SPAN, is_remote=True, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(at)):
        return write()


def raised() -> BaseException:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        return error


def test_a_line_of_json_has_the_names_of_ecs() -> None:
    fields = as_json("%s is slow", "datadog")
    assert fields["message"] == "datadog is slow"
    assert fields["log.level"] == "warning"
    assert fields["log.logger"] == "a.b"
    assert fields["service.name"] == "telemetry-mcp"
    assert fields["@timestamp"].endswith("Z")
    assert not [name for name in fields if name.startswith(("trace", "span", "error"))]


def test_json_keeps_what_somebody_else_wrote_within_its_line() -> None:
    assert as_json("%s", HOSTILE)["message"] == HOSTILE


def test_an_exception_stays_within_its_line_of_json() -> None:
    fields = as_json("it failed", error=raised())
    assert fields["error.type"] == "ValueError"
    assert HOSTILE[:1] in fields["error.message"]
    assert "raise ValueError(HOSTILE)" in fields["error.stack_trace"]


def test_a_message_that_does_not_fit_its_arguments_is_written_all_the_same() -> None:
    assert as_json("%d of", "x")["message"] == "%d of ('x',)"


def test_a_line_within_a_trace_has_its_id() -> None:
    fields = in_a_trace(lambda: as_json("slow"))
    assert (fields["trace.id"], fields["span.id"]) == (f"{TRACE:032x}", f"{SPAN:016x}")
    assert in_a_trace(lambda: written(Text(), "slow")).endswith(f"WARNING a.b: [{TRACE:032x}] slow")


def test_text_has_no_trace_where_there_is_none() -> None:
    assert written(Text(), "slow").endswith("Z WARNING a.b: slow")


def test_text_does_not_let_a_message_look_like_a_line_of_its_own() -> None:
    line = written(Text(), "no tool %s", "x\n2026-11-28T00:00:00Z ERROR root: all is lost \x1b[31m é")
    assert line.isprintable()
    assert line.endswith("x\\n2026-11-28T00:00:00Z ERROR root: all is lost \\x1b[31m é")


SCRIPT = """
import logging, threading, warnings
from telemetry_mcp import log
log.configure(form={form!r})
log.announce("listening")
logging.getLogger("x").warning("slow")
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(), thread.join()
raise RuntimeError("two\\nlines")
"""


@pytest.mark.parametrize("environ", [{}, {"TELEMETRY_MCP_LOG_FORMAT": "json"}])
def test_whatever_a_process_says_is_json_when_that_is_wished(environ: dict[str, str]) -> None:
    import os

    script = SCRIPT.format(form=None if environ else "json")
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environ},
        check=False,
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said = [line["message"] for line in lines]
    assert said[:2] == ["listening", "slow"]
    assert "UserWarning: old" in said[2]
    assert said[3:] == ["a thread ended by an error", "ended by an error"]
    assert lines[4]["error.message"] == "RuntimeError: two\nlines"


def test_text_is_the_default() -> None:
    script = SCRIPT.format(form=None).partition("warnings.warn")[0]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    listening, slow = done.stderr.splitlines()
    assert listening == "listening"
    assert slow.endswith("WARNING x: slow")
