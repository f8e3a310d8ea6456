"""Logs: to stderr, one line an event, as text or as JSON with the field names of ECS."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from traceback import TracebackException
from typing import Any, Literal

# At INFO these write a line a request, with its URL.
CHATTY = ("httpx", "httpx2", "httpcore", "urllib3", "aiohttp", "uvicorn.access", "mcp", "pdpyras")


TRACED = "telemetry_mcp.trace"
LOG = logging.getLogger(__name__)

Form = Literal["text", "json"]
ENV_FORM = "TELEMETRY_MCP_LOG_FORMAT"


def trace() -> None:
    """Let every hook call of a plugin be said, whatever the level of the rest is."""
    logging.getLogger(TRACED).setLevel(logging.DEBUG)


def configure(level: str = "WARNING", form: Form | None = None) -> None:
    """Send every log record of this process to stderr. Called before the MCP SDK sets up its own handler.

    `form` None: as $TELEMETRY_MCP_LOG_FORMAT says, or else as text. In JSON come also Python's warnings, and what
    ends the program or a thread of it.
    """
    as_json = (form or os.environ.get(ENV_FORM)) == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Ecs() if as_json else Text())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    if as_json:
        logging.captureWarnings(True)
        sys.excepthook = lambda kind, error, stack: LOG.critical("ended by an error", exc_info=error)
        threading.excepthook = lambda ended: LOG.error("a thread ended by an error", exc_info=ended.exc_value)


def announce(text: str) -> None:
    """Say something on stderr that is no trouble, whatever the level of the log is, and in its form."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    if any(isinstance(formatter, Ecs) for formatter in formatters):
        text = Ecs().format(logging.LogRecord(LOG.name, logging.INFO, "", 0, text, None, None))
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class Text(logging.Formatter):
    """For people. The trace's id stands before the message, where there is a trace."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        # What somebody else wrote, such as the name of a tool, must not look like a line of ours.
        record.message = one_line(record.message)
        if "trace.id" in (ids := identity()):
            record.message = f"[{ids['trace.id']}] {record.message}"
        return super().formatMessage(record)


class Ecs(logging.Formatter):
    """For machines: one JSON object in one line of ASCII, so that no control character is written as it is."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "@timestamp": stamp(record.created),
            "log.level": record.levelname.lower(),
            "message": said(record),
            "ecs.version": "8.11.0",
            "log.logger": record.name,
            "service.name": "telemetry-mcp",
            "process.pid": record.process,
            **identity(),
            **fault(record),
        }
        return json.dumps(fields)


def stamp(created_s: float) -> str:
    return datetime.fromtimestamp(created_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def said(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args}"


def fault(record: logging.LogRecord) -> Mapping[str, str]:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return {"error.stack_trace": record.exc_text} if record.exc_text else {}
    told = TracebackException.from_exception(error)
    return {
        "error.type": type(error).__qualname__,
        "error.message": "".join(told.format_exception_only()).strip(),
        "error.stack_trace": "".join(told.format()),
    }


def identity() -> dict[str, Any]:
    # Not loaded for a log line that could not be part of a trace anyway.
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace import get_current_span

    at = get_current_span().get_span_context()
    return {"trace.id": f"{at.trace_id:032x}", "span.id": f"{at.span_id:016x}"} if at.is_valid else {}


def one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
