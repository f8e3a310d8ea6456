"""What is wrong with the tables under [access] is said at the start, with what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.access.setting import FIELDS
from telemetry_mcp.config import FILE_NAME, read
from telemetry_mcp.model import Change, Entry, Incident, OnCall, Service, Slo

if TYPE_CHECKING:
    from pathlib import Path

SECRET = 'secret = "0123456789abcdef0123456789abcdef"\n'
OAUTH = '[access]\nresource = "https://t.test/mcp"\n[access.oauth]\nissuer = "https://a.test"\n'


def problems(folder: Path, text: str) -> list[str]:
    path = folder / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return [str(problem).removeprefix(f"{path}: ") for problem in read(path, {}).problems]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            f'{OAUTH}roles = {{ sre = ["respnder"] }}\n',
            "[access.oauth.roles] sre: found 'respnder'. no role is called so; did you mean 'responder'? "
            "Valid: admin, responder, viewer",
        ),
        (
            f'{OAUTH}default_roles = ["guest"]\n',
            "[access.oauth] default_roles: found 'guest'. no role is called so;",
        ),
        (
            '[access.masks.m]\nmetrics = ["cpu"]\naction = "hide"\nroles = ["view"]\n',
            "[access.masks.m] roles: found 'view'. no role is called so; did you mean 'viewer'?",
        ),
        (
            '[access.masks.m]\nmetrics = ["cpu"]\naction = "hide"\nexempt = ["admin", "root*"]\n',
            "[access.masks.m] exempt: found 'root*'. no role is called so;",
        ),
        (
            '[access.masks.m]\nmetrics = ["cpuu"]\naction = "hide"\n',
            "[access.masks.m] metrics: found 'cpuu'. no metric is called so; did you mean 'cpu'?",
        ),
        (
            f'[access]\n{SECRET}[access.masks.m]\nfields = ["persons"]\naction = "hash"\n',
            "[access.masks.m] fields: found 'persons'. no field is called so; did you mean 'person'?",
        ),
        (
            f'[access]\n{SECRET}[access.masks.m]\nfields = ["service"]\naction = "pseudonymise"\n',
            "[access.masks.m] fields: found 'service'. no field is called so;",
        ),
        (
            '[access.masks.m]\nfields = ["person"]\naction = "pseudonymise"\n',
            "masks.m needs secret: without one, anybody could undo what it does",
        ),
        (
            f'[access]\n{SECRET}[access.masks.m]\nmetrics = ["cpu"]\naction = "hash"\n',
            "action = 'hash' is for text, and metrics are numbers: hide, round or bucket",
        ),
        (
            '[access.masks.m]\nfields = ["person"]\naction = "round"\n',
            "action = 'round' is for numbers, and labels and fields are text: hide, hash or pseudonymise",
        ),
        ('[access.masks.m]\naction = "hide"\n', "name what it masks: metrics, labels or fields"),
        (
            '[access.masks.m]\nmetrics = ["cpu"]\naction = "round"\nwidth = 5\n',
            "width has no meaning for action = 'round'",
        ),
        (
            '[access.roles.dba]\ntools = ["*"]\nservices = ["*"]\nsources = ["*"]\nnative = true\n'
            '[access.masks.m]\nmetrics = ["cpu"]\naction = "hide"\n',
            "[access.masks.m] exempt: the role 'dba' is not exempt. It may ask in the sources' own languages",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(tmp_path: Path, text: str, says: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert says in problem


@pytest.mark.parametrize(
    "text",
    [
        f'{OAUTH}roles = {{ sre = ["responder", "own"] }}\ndefault_roles = ["viewer"]\n'
        '[access.roles.own]\ntools = ["list_*"]\n',
        '[access.masks.m]\nmetrics = ["c*", "latency_p95"]\naction = "hide"\nroles = ["view*"]\n',
        f'[access]\n{SECRET}[access.masks.m]\nfields = ["incident.title", "*.url", "author"]\naction = "hash"\n',
        # A role that may ask natively is not subject to what is for others only.
        '[access.masks.m]\nmetrics = ["cpu"]\naction = "hide"\nroles = ["viewer"]\nexempt = []\n',
    ],
)
def test_what_fits_is_taken_without_a_word(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == []


def test_the_fields_that_can_be_masked_are_there() -> None:
    kinds = {kind.__name__.lower(): kind for kind in (Change, Entry, Incident, OnCall, Service, Slo)}
    assert set(kinds) == set(FIELDS)
    for kind, names in FIELDS.items():
        assert set(names) <= set(kinds[kind].__dataclass_fields__)
