"""Threads cannot be cancelled: they are abandoned, counted, and never too many."""

import threading

import anyio
import pytest
from anyio import create_task_group, fail_after

from telemetry_mcp.errors import BusyError
from telemetry_mcp.thread import Threads


class Gate:
    """Calls that block until the gate is opened, and how many of them are inside."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)

    def call(self) -> None:
        self.entered.release()
        self.opened.wait(30)

    async def inside(self, calls: int) -> None:
        """Returns when so many calls are in their threads."""
        for _ in range(calls):
            await anyio.to_thread.run_sync(self.entered.acquire)


async def abandon(threads: Threads, gate: Gate, calls: int) -> None:
    """Start blocking calls and give them up while they are in their threads."""
    with fail_after(10):
        async with create_task_group() as tasks:
            for _ in range(calls):
                tasks.start_soon(threads.run, gate.call)
            await gate.inside(calls)
            tasks.cancel_scope.cancel()


async def none_abandoned(threads: Threads) -> None:
    with fail_after(10):
        while threads.abandoned:
            await anyio.lowlevel.checkpoint()


async def test_a_call_runs_elsewhere_and_its_result_or_error_comes_back() -> None:
    threads = Threads()
    assert await threads.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run(lambda: int("x"))
    assert threads.abandoned == 0


async def test_an_abandoned_thread_is_counted_until_it_ends() -> None:
    threads, gate = Threads(), Gate()
    await abandon(threads, gate, 3)
    assert threads.abandoned == 3
    gate.opened.set()
    await none_abandoned(threads)


async def test_no_new_call_is_made_while_too_many_hang_and_it_recovers() -> None:
    threads, gate = Threads(2), Gate()
    await abandon(threads, gate, 2)
    with pytest.raises(BusyError, match="2 earlier calls still hang"):
        await threads.run(threading.get_ident)
    gate.opened.set()
    await none_abandoned(threads)
    assert await threads.run(threading.get_ident)


async def test_never_more_threads_are_at_work_than_its_size() -> None:
    threads, gate = Threads(2), Gate()
    with fail_after(10):
        async with create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(threads.run, gate.call)
            await gate.inside(2)
            await anyio.wait_all_tasks_blocked()
            assert not gate.entered.acquire(blocking=False)
            gate.opened.set()
    assert threads.abandoned == 0


async def test_a_call_cancelled_before_it_had_a_thread_is_not_counted() -> None:
    threads, gate = Threads(1), Gate()
    with fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(threads.run, gate.call)
            await gate.inside(1)
            async with create_task_group() as waiting:
                waiting.start_soon(threads.run, gate.call)
                await anyio.wait_all_tasks_blocked()
                waiting.cancel_scope.cancel()
            assert threads.abandoned == 0
            gate.opened.set()
