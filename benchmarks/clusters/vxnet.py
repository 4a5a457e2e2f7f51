"""vxnet's own agents."""

import sys
from collections.abc import Sequence

from benchmarks.clusters.base import READY, Agent
from benchmarks.clusters.ears import Kind, Saying
from vxnet.wire.addr import Mac, format_mac

__all__ = ["VxnetAgent", "station"]

PORT = 7947


class VxnetAgent(Agent):
    """`benchmarks.clusters.agent`: the daemon's gossip without its datapath."""

    make = "vxnet"
    title = "vxnet"

    @staticmethod
    def install() -> None:
        """It is there."""

    @staticmethod
    def missing() -> None:
        """Nothing is."""

    @staticmethod
    def understand(line: str) -> Saying | None:
        """It speaks the language of the ears."""
        if line == READY:
            return Saying(Kind.HEARD, READY)
        kind, _, what = line.partition(" ")
        return Saying(Kind(kind), what) if kind in tuple(Kind) else None

    def command(self) -> Sequence[str]:
        """Its state is in the bed's directory, and goes with it."""
        state = self.host.directory / f"{self.name}.json"
        words = [self.name, self.address, f"--port={PORT}", f"--state={state}"]
        return [sys.executable, "-m", "benchmarks.clusters.agent", *words]

    def join(self, seed: str) -> None:
        """Hand it the seed."""
        self.order("join", seed)

    def tell(self, number: int) -> str:
        """A station of its own, one that nobody has heard of."""
        mac = station(number)
        self.order("announce", mac)
        return self.holds(mac)

    def holds(self, mac: str) -> str:
        """What the others say once they know that this agent has the station."""
        return f"{mac}@{self.address}"

    def order(self, verb: str, what: object) -> None:
        """Give it a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{verb} {what}\n".encode())
        self.process.stdin.flush()


def station(number: int) -> str:
    """A MAC."""
    return format_mac(Mac(b"\x02\x00" + number.to_bytes(4, "big")))
