"""What systemd hears of a running daemon."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vxnet.daemon.heartbeat import beat


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The end of the notification socket that systemd listens at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listener


def heard(systemd: socket.socket) -> list[str]:
    """What came since this was asked last."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(systemd.recv(1000).decode())
    return found


async def test_the_watchdog_hears_of_the_loop_several_times_in_the_time_it_allows(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    beating = asyncio.create_task(beat(lambda: "idle"))
    await asyncio.sleep(0.5)
    beating.cancel()
    first, *others = heard(systemd)
    assert first == "WATCHDOG=1\nSTATUS=idle"
    assert len(others) >= 2
    assert set(others) == {"WATCHDOG=1"}


async def test_a_loop_that_is_stuck_is_silent(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    beating = asyncio.create_task(beat(lambda: "idle"))
    await asyncio.sleep(0.01)
    heard(systemd)
    time.sleep(0.3)  # noqa: ASYNC251 - what a loop is stuck in
    assert heard(systemd) == []
    beating.cancel()


async def test_the_status_is_told_when_it_changes_even_without_a_watchdog(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.setattr("vxnet.daemon.heartbeat.STATUS_EVERY_S", 0.01)
    said = ["1 endpoints"]
    beating = asyncio.create_task(beat(lambda: said[-1]))
    await asyncio.sleep(0.1)
    said.append("2 endpoints")
    await asyncio.sleep(0.1)
    beating.cancel()
    assert heard(systemd) == ["STATUS=1 endpoints", "STATUS=2 endpoints"]


async def test_a_watchdog_of_another_process_is_none_of_ours(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    beating = asyncio.create_task(beat(lambda: "idle"))
    await asyncio.sleep(0.3)
    beating.cancel()
    assert heard(systemd) == ["STATUS=idle"]


async def test_where_nobody_asks_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await asyncio.wait_for(beat(lambda: "idle"), 10)
