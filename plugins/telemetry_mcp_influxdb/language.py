"""What the source asks of each language, whatever its version."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from telemetry_mcp import Window
from telemetry_mcp_influxdb.statement import Scope, Statement
from telemetry_mcp_influxdb.table import Answer
from telemetry_mcp_influxdb.wire import Request

if TYPE_CHECKING:
    from telemetry_mcp_influxdb.setting import InfluxSettings


class Language(ABC):
    """A language over the API that it is sent to. It does no I/O itself."""

    name: ClassVar[str]
    listed: ClassVar[str]
    """The column of an inventory that holds the names."""
    place: ClassVar[str]
    """What the server calls that in which measurements are: the setting that names it."""
    permission: ClassVar[str]

    def __init__(self, settings: InfluxSettings) -> None:
        self.settings = settings

    @staticmethod
    @abstractmethod
    def check(text: str) -> None:
        """BadQueryError unless this is one statement that only reads, inside the window that is asked for."""

    @abstractmethod
    def statement(self, text: str, scope: Scope) -> Statement:
        """What is sent for a template or a native query; raises as `check`."""

    @abstractmethod
    def request(self, statement: Statement) -> Request: ...

    def measurements(self) -> Statement | None:
        """Lists the measurements that have the service's tag; None where `inventory` looks through all itself."""
        return None

    @abstractmethod
    def inventory(self, window: Window, measurements: Sequence[str]) -> Statement:
        """Lists the values of the service's tag."""

    @abstractmethod
    def probe(self, now_ms: int) -> Statement:
        """The cheapest statement that needs credentials, the database and the right to read it."""

    @abstractmethod
    def decode(self, body: bytes) -> Answer:
        """The rows of a 2xx body. Raises the error that stands in one, ProtocolError for what is none."""
