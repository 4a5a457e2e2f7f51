"""Real gossip control planes on loopback, with their clocks run fast."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vxnet.control.gossip import GossipControl
from vxnet.gossip.events import Event, MemberState
from vxnet.gossip.settings import LAN, scaled
from vxnet.wire.addr import Mac, Vni, Vtep, parse_ip

__all__ = ["BLUE", "FAST", "Host", "cluster", "control", "mac", "running", "send", "until"]

BLUE = Vni(7)
FAST = replace(scaled(LAN, 0.2), resolve_interval_s=1.0)
PATIENCE_S = 20.0


def mac(number: int) -> Mac:
    """A MAC by number."""
    return Mac(b"\x02\0" + number.to_bytes(4, "big"))


def control(directory: Path, at: int = 1, **settings: Any) -> GossipControl:
    """The control plane of the host at 127.0.0.`at`, not started."""
    known = {
        "name": f"h{at}",
        "vtep": Vtep(parse_ip(f"127.0.0.{at}"), 4789),
        "state_file": directory / f"gossip-{at}.json",
        "port": 0,
        "settings": FAST,
    }
    return GossipControl(**{**known, **settings})


class Host:
    """A control plane that runs, and what it told."""

    def __init__(self, plane: GossipControl) -> None:
        self.plane = plane
        self.events: list[Event] = []
        plane.subscribe(self.events.extend)

    @property
    def seed(self) -> tuple[str, int]:
        """Where others find it."""
        return self.plane.members()[0].gossip

    def alive(self) -> set[str]:
        """Whom it holds alive, itself included."""
        return {m.name for m in self.plane.members() if m.state is MemberState.ALIVE}

    def state(self, name: str) -> MemberState | None:
        """What it believes of another."""
        return next((m.state for m in self.plane.members() if m.name == name), None)

    def stations(self) -> set[Mac]:
        """The stations that it knows."""
        return {entry.mac for entry in self.plane.entries(BLUE)}


@asynccontextmanager
async def running(directory: Path, at: int = 1, **settings: Any) -> AsyncIterator[Host]:
    """A host that is started, and closed in the end."""
    plane = control(directory, at, **settings)
    host = Host(plane)
    await plane.start()
    try:
        yield host
    finally:
        await plane.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to be so. No test asks how long it took, only that it came."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - anything may be waited for
            await asyncio.sleep(0.02)


async def cluster(
    stack: AsyncExitStack, directory: Path, size: int, **settings: object
) -> list[Host]:
    """Some hosts that know each other; the first is everybody's seed."""
    hosts: list[Host] = []
    for at in range(1, size + 1):
        seeds = [hosts[0].seed] if hosts else []
        hosts.append(
            await stack.enter_async_context(running(directory, at, seeds=seeds, **settings))
        )
    everybody = {f"h{at}" for at in range(1, size + 1)}
    await until(lambda: all(host.alive() == everybody for host in hosts))
    return hosts


def send(host: Host, *packets: bytes) -> None:
    """Send a host datagrams as nobody in particular."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in packets:
            sender.sendto(packet, ("127.0.0.1", host.plane.port))
