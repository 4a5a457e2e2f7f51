"""The datapath's books: every frame that enters ends in exactly one counter."""

from dataclasses import replace

from vxnet.datapath.base import Counters, Stats
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire.addr import Ip, Vni, Vtep

__all__ = ["Ledger", "add_drops"]

_STRANGERS_MAX = 256


class Ledger:
    """The counters of one datapath. Hot paths hold on to the `Counters` they add to."""

    def __init__(self) -> None:
        self.ports: dict[PortId, Counters] = {}
        self.tunnels: dict[Vni, Counters] = {}
        self.peers: dict[Vtep, Counters] = {}
        self.stray: dict[DropReason, int] = {}
        self.io: dict[str, int] = {}
        self.strangers: dict[Ip, int] = {}

    def peer(self, vtep: Vtep) -> Counters:
        """The counters of a VTEP; begun when first asked for."""
        counters = self.peers.get(vtep)
        if counters is None:
            counters = self.peers[vtep] = Counters()
        return counters

    def meet(self, source: Ip, frames: int) -> None:
        """Count frames from a VTEP that is no peer; anybody can send from any address."""
        if source in self.strangers or len(self.strangers) < _STRANGERS_MAX:
            self.strangers[source] = self.strangers.get(source, 0) + frames

    def note(self, what: str, count: int = 1) -> None:
        """Count something of the machinery's own."""
        self.io[what] = self.io.get(what, 0) + count

    def snapshot(self) -> Stats:
        """A copy of all counters."""
        return Stats(
            ports={port: _copy(counters) for port, counters in self.ports.items()},
            tunnels={vni: _copy(counters) for vni, counters in self.tunnels.items()},
            peers={vtep: _copy(counters) for vtep, counters in self.peers.items()},
            stray=dict(self.stray),
            io=dict(self.io),
            strangers=dict(self.strangers),
        )


def add_drops(drops: dict[DropReason, int], reason: DropReason, frames: int) -> None:
    """Count frames that went nowhere."""
    drops[reason] = drops.get(reason, 0) + frames


def _copy(counters: Counters) -> Counters:
    return replace(counters, drops=dict(counters.drops))
