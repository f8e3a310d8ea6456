"""Recorded payloads that no plugin reads yet: they stand in the table too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugins.conftest import Replayed, WireCase


@pytest.mark.wire("kafka")
def test_what_lies_on_kafka_topics_is_left_to_the_stream(wire_case: WireCase, replayed: Replayed) -> None:
    assert wire_case.text
    replayed(
        wire_case, "not for us", "what lies on a Kafka topic is read by the stream, not by a source that is asked"
    )
