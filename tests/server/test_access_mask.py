"""Masks: numbers and text that a role sees only in part, before anything is worked out from them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.server.realm import EVERYTHING, NORTH, SERVICES, SOUTH, Seat, Sit, estate, running, seated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = '[access]\nsecret = "0123456789abcdef0123456789abcdef"\n'
ROLES = """
[access.roles.plain]
tools = ["*"]
services = ["*"]
sources = ["*"]

[access.roles.trusted]
tools = ["*"]
services = ["payment-*"]
sources = ["*"]
"""


@pytest.fixture
async def sit(tmp_path: Path) -> AsyncIterator[Sit]:
    numbers = count()
    async with AsyncExitStack() as stack:

        async def enter(masks: str, *roles: str, subject: str = "kim") -> Seat:
            folder = tmp_path / f"{next(numbers)}"
            folder.mkdir()
            config = estate(folder, SECRET + ROLES + masks)
            assert [str(problem) for problem in config.problems] == []
            engine = await stack.enter_async_context(running(config))
            return await stack.enter_async_context(seated(engine, *roles, subject=subject))

        yield enter


HIDE_CPU = '[access.masks.calm]\nmetrics = ["cpu"]\naction = "hide"\n'


async def test_a_hidden_metric_has_no_number_anywhere_and_the_answer_says_why(sit: Sit) -> None:
    seat = await sit(HIDE_CPU, "plain")
    now = await seat.fields("get_current_metrics", service="payment-api")
    assert now["missing"] == ["cpu"]
    assert now["metrics"]["cpu_percent"] is None
    assert now["metrics"]["error_rate"] is not None
    assert f"{NORTH}: cpu is hidden here by the rule calm" in now["warnings"]
    listed = await seat.fields("list_services")
    assert {row["cpu"] for row in listed["services"]} == {None}
    past = await seat.fields("query_historical_metrics", service="payment-api", metric_type="cpu", hours=0.5)
    assert past["statistics"]["count"] == 0
    assert {line["status"] for line in past["sources"]} == {"no_data"}
    found = await seat.fields("detect_anomalies", service="*", metric="cpu", hours=0.5)
    assert found["anomalies_detected"] is None


async def test_an_exempt_role_sees_the_numbers_and_no_warning(sit: Sit) -> None:
    seat = await sit(HIDE_CPU, "admin")
    now = await seat.fields("get_current_metrics", service="payment-api")
    assert now["metrics"]["cpu_percent"] is not None
    assert not [warning for warning in now["warnings"] if "hidden" in warning]


async def test_of_several_roles_the_exempt_one_frees_what_it_lets_be_seen_and_no_more(sit: Sit) -> None:
    seat = await sit(HIDE_CPU + 'exempt = ["trusted", "admin"]\n', "plain", "trusted")
    listed = await seat.fields("list_services")
    shown = {row["name"] for row in listed["services"] if row["cpu"] is not None}
    assert shown == {"payment-api", "payment-batch"}


async def test_a_mask_for_one_role_leaves_the_others_alone(sit: Sit) -> None:
    for roles, shown in ((("plain",), False), (("trusted",), True), (("plain", "trusted"), True)):
        seat = await sit(HIDE_CPU + 'roles = ["plain"]\n', *roles)
        now = await seat.fields("get_current_metrics", service="payment-api")
        assert (now["metrics"]["cpu_percent"] is not None) == shown


async def test_production_is_masked_apart_and_what_is_in_no_known_environment_with_it(sit: Sit) -> None:
    seat = await sit(HIDE_CPU + 'environments = ["prod*"]\n', "plain")
    listed = await seat.fields("list_services")
    # Nobody says where search-web is: in doubt it is masked.
    assert {row["name"] for row in listed["services"] if row["cpu"] is not None} == {"payment-batch"}


async def test_rounded_numbers_are_rounded_before_any_statistic(sit: Sit) -> None:
    rule = '[access.masks.calm]\nmetrics = ["cpu"]\naction = "round"\n'
    seat = await sit(rule, "plain")
    past = await seat.fields("query_historical_metrics", service="payment-api", metric_type="cpu", hours=0.5)
    figures = past["statistics"]
    # The estate's values waver around 20, and around 60 from half past on.
    assert {figures[name] for name in ("min", "max", "p50", "last")} == {20, 60}
    assert {value for value in past["series"]["values"] if value is not None} <= {20, 60, 40}
    assert f"{NORTH}: cpu is rounded to 1 significant digit here by the rule calm" in past["warnings"]
    free = await (await sit(rule, "admin")).fields(
        "query_historical_metrics", service="payment-api", metric_type="cpu"
    )
    assert free["statistics"]["min"] != 20


async def test_buckets_are_multiples_of_their_width_in_the_metrics_unit(sit: Sit) -> None:
    seat = await sit('[access.masks.calm]\nmetrics = ["c*"]\naction = "bucket"\nwidth = 25\n', "plain")
    now = await seat.fields("get_current_metrics", service="payment-api")
    assert now["metrics"]["cpu_percent"] == 50
    assert f"{NORTH}: cpu is shown in steps of 25 here by the rule calm" in now["warnings"]


async def test_a_person_is_hidden_hashed_or_has_a_pseudonym(sit: Sit) -> None:
    ask = {"service": "payment-api", "start": "2026-02-16T14:40:00Z", "lookback": "20m", "guard": "2m"}
    people = {}
    for action in ("hide", "hash", "pseudonymise"):
        rule = f'[access.masks.people]\nfields = ["person", "author"]\naction = "{action}"\n'
        for subject in ("kim", "lee"):
            seat = await sit(rule, "plain", subject=subject)
            told = await seat.fields("investigate_incident", **ask)
            persons = {row["person"] for row in told["on_call"]}
            authors = {row.get("author") for row in told["changes"]}
            assert "Kim" not in orjson.dumps(told).decode()
            people[action, subject] = (persons, authors)
    assert people["hide", "kim"] == ({"(hidden)"}, {None})
    assert people["hash", "kim"] == people["hash", "lee"]
    assert people["hash", "kim"][0] == people["hash", "kim"][1]
    (mine,), (theirs,) = people["pseudonymise", "kim"][0], people["pseudonymise", "lee"][0]
    assert mine != theirs
    assert mine.startswith("p~")
    assert people["pseudonymise", "kim"][1] == {mine}


async def test_a_pseudonym_of_a_team_is_an_argument_for_the_caller_whose_it_is_only(sit: Sit) -> None:
    rule = '[access.masks.teams]\nfields = ["team", "tags"]\naction = "pseudonymise"\n'
    kim, lee = await sit(rule, "plain"), await sit(rule, "plain", subject="lee")
    rows = (await kim.fields("list_services"))["services"]
    teams = {row["name"]: row["team"] for row in rows}
    assert teams["payment-api"].startswith("p~")
    chosen = await kim.fields("list_services", team=teams["ledger-core"])
    assert [row["name"] for row in chosen["services"]] == ["ledger-core"]
    for seat, team in ((lee, teams["ledger-core"]), (kim, "osprey")):
        told = await seat.ask("list_services", team=team)
        assert "no service has the team" in told
        assert not {"falcon", "heron"} & set(told.replace("'", " ").split())


async def test_what_is_masked_in_one_callers_answer_is_whole_in_anothers_of_the_same_engine(sit: Sit) -> None:
    rule = '[access.masks.teams]\nfields = ["team"]\naction = "hide"\nroles = ["plain"]\n'
    seat = await sit(rule, "plain")
    assert {row["team"] for row in (await seat.fields("list_services"))["services"]} == {None}
    # What is kept is what the sources said, not what one caller saw of it.
    assert {reply.items[0].team for reply in seat.engine.told.values()} <= {"falcon", None}
    free = await sit(rule, "trusted")
    assert {row["team"] for row in (await free.fields("list_services"))["services"]} == {"falcon", None}


async def test_labels_of_native_series_are_masked_by_their_names(sit: Sit) -> None:
    role = '[access.roles.asker]\ntools = ["*"]\nservices = ["*"]\nsources = ["*"]\nnative = true\n'
    shown = {}
    for action in ("hide", "hash", "pseudonymise"):
        rule = f'[access.masks.teams]\nlabels = ["te*"]\naction = "{action}"\n'
        seat = await sit(role + rule, "asker")
        told = await seat.fields("query_source", source=SOUTH, query="x", hours=0.5)
        shown[action] = [row["labels"].get("team") for row in told["series"]]
        assert {row["labels"]["service"] for row in told["series"]} == {
            n for n, s in SERVICES.items() if SOUTH in s[2]
        }
    assert set(shown["hide"]) == {None}
    assert all(label.startswith("h~") for label in shown["hash"])
    assert all(label.startswith("p~") for label in shown["pseudonymise"])
    assert not set(shown["hash"]) & EVERYTHING
