"""The fault switches of the emulators: every fault as it arrives on the wire, and an end that waits for nobody."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from typing import TYPE_CHECKING

import httpx
import pytest

from telemetry_mcp.demo import datadog
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.fault import Fault, zeros

if TYPE_CHECKING:
    from tests.core.conftest import Vendor

NOW_S = 20_500 * 86_400 + 15 * 3600


def test_a_fault_befalls_its_route_only_and_until_it_is_cleared(world: Emulators, duty: Vendor) -> None:
    world.faults["pagerduty"].set("/incidents", Fault("status", code=503, body=b"{}"))
    assert duty.get("/incidents").status_code == 503
    assert duty.get("/services").status_code == 200
    world.faults["pagerduty"].clear()
    assert duty.get("/incidents").status_code == 200


def test_the_longest_route_wins_and_a_counted_fault_wears_off(world: Emulators, duty: Vendor) -> None:
    world.faults["pagerduty"].set("/", Fault("status", code=500))
    world.faults["pagerduty"].set("/services", Fault("status", code=502, times=2))
    assert [duty.get("/services").status_code for _ in range(3)] == [502, 502, 200]
    assert duty.get("/oncalls").status_code == 500


def test_a_delay_ends_in_the_true_answer(world: Emulators, dog: Vendor) -> None:
    world.faults["datadog"].set("/", Fault("delay", seconds=0.1))
    start = time.monotonic()
    assert dog.get("/api/v1/validate").json() == {"valid": True}
    assert time.monotonic() - start >= 0.1


def test_a_hanging_server_never_answers(world: Emulators, dog: Vendor) -> None:
    world.faults["datadog"].set("/", Fault("hang"))
    with pytest.raises(httpx.ReadTimeout):
        dog.client.get(f"{dog.url}/api/v1/validate", timeout=0.1)


def test_a_dripping_body_never_ends(world: Emulators, dog: Vendor) -> None:
    world.faults["datadog"].set("/", Fault("drip", seconds=0.01))
    with dog.client.stream("GET", f"{dog.url}/api/v1/validate") as answer:
        assert answer.status_code == 200
        drops = answer.iter_raw()
        assert [next(drops) for _ in range(5)] == [b" "] * 5


def test_a_reset_leaves_no_answer(world: Emulators, dog: Vendor) -> None:
    world.faults["datadog"].set("/", Fault("reset"))
    host, port = dog.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(1)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_body_breaks_off_in_the_middle(world: Emulators, duty: Vendor, chunked: bool) -> None:
    whole = duty.get("/incidents")
    world.faults["pagerduty"].set("/", Fault("truncate", chunked=chunked))
    with duty.client.stream("GET", f"{duty.url}/incidents", headers=duty.keys) as answer:
        assert answer.status_code == 200
        assert answer.headers.get("content-length") == (None if chunked else whole.headers["content-length"])
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()


def test_a_gzip_bomb_is_small_on_the_wire(world: Emulators, dog: Vendor) -> None:
    world.faults["datadog"].set("/", Fault("gzip_bomb", size=8 << 20))
    with dog.client.stream("GET", f"{dog.url}/api/v1/validate") as answer:
        assert answer.headers["content-encoding"] == "gzip"
        packed = answer.read()
        assert len(packed) == 8 << 20
        assert answer.num_bytes_downloaded < 20_000


def test_a_gzip_bomb_is_one_valid_stream_made_on_the_way() -> None:
    unpack = zlib.decompressobj(31)
    size = sum(len(unpack.decompress(part)) for part in zeros(5 << 20))
    assert (size, unpack.eof, unpack.unused_data) == (5 << 20, True, b"")
    endless = zeros(10 << 30)
    assert all(len(next(endless)) < 2000 for _ in range(100))


def test_a_proxy_answers_in_html_in_another_type_or_not_at_all(world: Emulators, duty: Vendor) -> None:
    truth = duty.get("/services").content
    world.faults["pagerduty"].set("/services", Fault("html"))
    assert duty.get("/services").headers["content-type"].startswith("text/html")
    world.faults["pagerduty"].set("/services", Fault("wrong_content_type"))
    strange = duty.get("/services")
    assert strange.headers["content-type"].startswith("text/plain")
    assert strange.content == truth
    world.faults["pagerduty"].set("/services", Fault("empty"))
    assert (duty.get("/services").status_code, duty.get("/services").content) == (200, b"")


def test_a_rate_limit_comes_with_the_headers_it_is_given_or_with_none(world: Emulators, dog: Vendor) -> None:
    limits = {
        "retry-after": Fault("rate_limit", headers={"retry-after": "7"}),
        "x-ratelimit-reset": datadog.LIMITED,
    }
    for header, fault in limits.items():
        world.faults["datadog"].set("/", fault)
        answer = dog.get("/api/v1/validate")
        assert (answer.status_code, answer.headers[header]) == (429, "7")
    world.faults["datadog"].set("/", Fault("rate_limit"))
    bare = dog.get("/api/v1/validate")
    assert (bare.status_code, bare.content) == (429, b"")
    assert not {"retry-after", "x-ratelimit-reset"} & set(bare.headers)


def test_a_redirect_leads_to_a_stranger_who_writes_down_what_he_gets(world: Emulators, dog: Vendor) -> None:
    world.faults["datadog"].set("/", Fault("redirect", url=world.stranger))
    assert dog.get("/api/v1/validate").status_code == 302
    assert not world.requests["stranger"]
    target = f"{dog.url}/api/v1/validate?a=1"
    followed = dog.client.get(target, headers=dog.keys, follow_redirects=True)
    assert followed.json() == {"welcome": "stranger"}
    (seen,) = world.requests["stranger"]
    assert (seen.path, seen.query) == ("/api/v1/validate", (("a", "1"),))
    assert seen.headers["dd-api-key"] == datadog.API_KEY


@pytest.mark.parametrize("blank", [False, True])
def test_pages_never_end(world: Emulators, duty: Vendor, blank: bool) -> None:
    world.faults["pagerduty"].set("/incidents", Fault("endless_pages", blank=blank))
    page = duty.get("/incidents", offset=5000, limit=10).json()
    assert (page["more"], page["offset"]) == (True, 5000)
    assert len(page["incidents"]) == (0 if blank else 10)


def test_a_cursor_never_ends(world: Emulators, relic: Vendor, apps: set[str]) -> None:
    world.faults["newrelic"].set("/", Fault("endless_pages"))
    wanted = "count results { nextCursor entities { name } }"
    body = {"query": f"{{ actor {{ entitySearch(query: \"domain = 'APM'\") {{ {wanted} }} }} }}"}
    answer = relic.client.post(f"{relic.url}/graphql", json=body, headers=relic.keys).json()
    found = answer["data"]["actor"]["entitySearch"]["results"]
    assert found["nextCursor"]
    assert len(found["entities"]) == len(apps)


def test_a_partial_answer_has_its_data_and_a_warning(world: Emulators, prometheus: Vendor) -> None:
    world.faults["prometheus"].set("/api/v1/query", Fault("partial"))
    answer = prometheus.get("/api/v1/query", query="up").json()
    assert answer["warnings"]
    assert answer["data"]["result"]


def test_a_redirect_to_nowhere_is_refused(world: Emulators) -> None:
    with pytest.raises(ValueError, match="url"):
        world.faults["datadog"].set("/", Fault("redirect"))


def test_requests_are_written_down(world: Emulators, prometheus: Vendor) -> None:
    world.requests["prometheus"].clear()
    prometheus.client.post(f"{prometheus.url}/api/v1/query?time={NOW_S}", data={"query": "up"})
    (asked,) = world.requests["prometheus"]
    assert (asked.method, asked.path) == ("POST", "/api/v1/query")
    assert asked.form == {"time": str(NOW_S), "query": "up"}
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


def test_the_emulators_stop_at_once_under_requests_that_hang() -> None:
    before = set(threading.enumerate())
    with Emulators() as emulators:
        connections = []
        for name, fault in (
            ("datadog", Fault("hang")),
            ("pagerduty", Fault("drip")),
            ("newrelic", Fault("delay", 60)),
        ):
            emulators.faults[name].set("/", fault)
            host, port = emulators.urls[name].removeprefix("http://").split(":")
            raw = socket.create_connection((host, int(port)), timeout=5)
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            connections.append(raw)
        assert connections[1].recv(15) == b"HTTP/1.1 200 OK"
        start = time.monotonic()
    assert time.monotonic() - start < 1
    assert set(threading.enumerate()) == before
    for raw in connections:
        raw.close()


async def test_the_emulators_serve_an_asynchronous_caller_of_the_same_thread() -> None:
    async with Emulators() as emulators, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{emulators.urls['prometheus']}/-/ready")
    assert answer.status_code == 200
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{emulators.urls['prometheus']}/-/ready")
