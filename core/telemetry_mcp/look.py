"""What `check()` looks at, side by side: no look hides another, by failing or by being slow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from anyio import create_task_group, current_effective_deadline, current_time, move_on_after

from telemetry_mcp.errors import PlanError, SourceError, SourceTimeoutError
from telemetry_mcp.model import Check

Look = Callable[[], Awaitable[Sequence[Check]]]

SPARE_S, SPARE = 0.5, 0.1
"""What is kept of the time for the answer itself: at most so many seconds, at most this part."""
SLOW = "is it overloaded? Else raise `timeout` of this source"


async def side_by_side(looks: Mapping[Check, Look]) -> list[Check]:
    """What every look found, in the given order; shortly before the caller's deadline, what is known by then.

    The key of a look is what it reports with ok=False where it raises SourceError or does not answer. Raises
    SourceTimeoutError where none answers.
    """
    found: dict[Check, Sequence[Check]] = {}

    async def one(check: Check, look: Look) -> None:
        try:
            found[check] = await look()
        except SourceError as error:
            found[check] = [failed_check(check, error)]

    left_s = current_effective_deadline() - current_time()
    limit_s = left_s - min(SPARE_S, SPARE * left_s)
    with move_on_after(limit_s):
        async with create_task_group() as tasks:
            for check, look in looks.items():
                tasks.start_soon(one, check, look)
    silent = f"no answer within {limit_s:.1f} s"
    if not found:
        raise SourceTimeoutError(silent)
    late = {check: [replace(check, ok=False, detail=silent, fix=SLOW)] for check in looks if check not in found}
    return [item for check in looks for item in (found | late)[check]]


def failed_check(check: Check, error: SourceError, fix: str = "") -> Check:
    """The check with what went wrong; `fix` is better than the error's hint. What the plan lacks is optional."""
    lacking = isinstance(error, PlanError)
    advice = error.hint if lacking else fix or error.hint
    return replace(check, ok=False, detail=str(error), fix=advice, optional=check.optional or lacking)
