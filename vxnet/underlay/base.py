"""What an underlay is: it carries datagrams between hosts, in bursts that share a journey."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from vxnet.switch.actions import DropReason
from vxnet.wire.addr import Ip, Vtep

__all__ = ["BURST_BYTES", "BURST_DATAGRAMS", "Burst", "Refusal", "Underlay"]

BURST_DATAGRAMS = 64
"""Most datagrams of one send: UDP_MAX_SEGMENTS of every kernel that has UDP_SEGMENT."""

BURST_BYTES = 65_507
"""Most octets of one send: what an IPv4 packet leaves for UDP's payload."""


class Burst(NamedTuple):
    """Datagrams of one sender that arrived together, one behind the other in the buffer."""

    size: int  # octets in all
    stride: int  # of each; the last may be shorter
    source: Ip
    tos: int  # IPv4's type of service, IPv6's traffic class, of all
    truncated: bool  # the last one lost its end: it was larger than the buffer


class Refusal(NamedTuple):
    """Datagrams of a burst that did not leave, and why."""

    datagrams: int
    reason: DropReason


class Underlay(Protocol):
    """Sends and receives datagrams of the VXLAN port. Nothing blocks, no error stops it."""

    @property
    def fd(self) -> int:
        """What becomes readable when a burst is there."""
        ...

    def open(self, inherited: Sequence[int] = ()) -> None:
        """Take the port, or go on with sockets a former daemon received on; they are ours then.

        Raises HostError where the system refuses.
        """
        ...

    def listeners(self) -> tuple[int, ...]:
        """The sockets that datagrams arrive at."""
        ...

    def close(self) -> None:
        """Give the port back. Idempotent."""
        ...

    def receive(self, buffer: memoryview) -> Burst | None:
        """The next burst, its octets in `buffer`; None when there is none now."""
        ...

    def send(
        self, to: Vtep, flow: int, tos: int, parts: Sequence[memoryview], stride: int
    ) -> Refusal | None:
        """Send datagrams that lie one behind the other in `parts`, `stride` octets each.

        No datagram reaches over two parts, and only the last may be shorter. `flow` chooses the
        source port: equal for equal numbers. Returns what did not leave, or None.
        """
        ...

    def forget(self, to: Vtep) -> None:
        """A peer left: what was found out about the way to it is void."""
        ...

    def counters(self) -> Mapping[str, int]:
        """The machinery's own counters, by name."""
        ...
