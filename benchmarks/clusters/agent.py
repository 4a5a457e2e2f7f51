"""vxnet's gossip by itself, for the benchmark: the control plane of the daemon, without a datapath.

Takes a command a line on standard input, and says a line whenever it comes to know something:
`ready`, `up NAME`, `down NAME`, `heard MAC@ADDRESS`, `heard rows N`.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from vxnet.control.gossip import GossipControl
from vxnet.gossip.events import EntryGone, EntrySet, Event, MemberChanged, MemberState
from vxnet.wire.addr import Mac, Vni, Vtep, format_ip, format_mac, parse_ip, parse_mac

__all__ = ["main"]

NETWORK = Vni(1)
CROWDED = (Vni(1000), Vni(1001))
"""Networks for very many rows, which are counted and not told one by one."""
CROWD = 50_000  # rows in each of them
SLICE = 200  # announced before the event loop sees to others

SAYS = {MemberState.ALIVE: "up", MemberState.DEAD: "down", MemberState.LEFT: "down"}


class Agent:
    """One member of the cluster, and its conversation with the benchmark."""

    def __init__(self, control: GossipControl, port: int) -> None:
        self._control = control
        self._port = port
        self._crowd: set[tuple[Vni, Mac]] = set()
        self._held = 0

    async def run(self) -> None:
        """Until standard input ends."""
        self._control.subscribe(self._heard)
        await self._control.start()
        for vni in (NETWORK, *CROWDED):
            self._control.attach(vni)
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
        )
        say(["ready"])
        while line := await commands.readline():
            await self._obey(*line.decode().split())

    async def _obey(self, verb: str, what: str) -> None:
        match verb:
            case "join":
                self._control.set_seeds([(what, self._port)])
            case "announce":
                self._control.announce(NETWORK, parse_mac(what))
            case "take":
                self._control.announce(NETWORK, parse_mac(what), moved=True)
            case "hold":
                await self._hold(int(what))
            case _:
                raise ValueError(f"no command is called {verb!r}")

    async def _hold(self, count: int) -> None:
        """Announce stations until this host has so many of them; probes are answered meanwhile."""
        for number in range(self._held, count):
            mac = Mac(b"\x0a\x00" + number.to_bytes(4, "big"))
            self._control.announce(CROWDED[number // CROWD], mac)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        self._held = count

    def _heard(self, events: Sequence[Event]) -> None:
        lines = []
        before = len(self._crowd)
        for event in events:
            match event:
                case MemberChanged(member) if member.state in SAYS and not member.local:
                    lines.append(f"{SAYS[member.state]} {member.name}")
                case EntrySet(entry) if entry.vni == NETWORK:
                    lines.append(f"heard {format_mac(entry.mac)}@{format_ip(entry.vtep.ip)}")
                case EntrySet(entry):
                    self._crowd.add((entry.vni, entry.mac))
                case EntryGone(vni, mac):
                    self._crowd.discard((vni, mac))
        if len(self._crowd) != before:
            lines.append(f"heard rows {len(self._crowd)}")
        if lines:
            say(lines)


def say(lines: Sequence[str]) -> None:
    """In one piece, at once."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line, and gossip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("address")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    words = parser.parse_args()
    control = GossipControl(
        name=words.name,
        vtep=Vtep(parse_ip(words.address), 4789),
        state_file=words.state,
        port=words.port,
        keys=[bytes.fromhex(os.environ["GOSSIP_KEY"])],
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Agent(control, words.port).run())


if __name__ == "__main__":
    main()
