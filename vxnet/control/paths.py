"""What the way to each host carries, found with padded datagrams: ICMP is never believed.

A probe asks for no more than "it arrived", by the number it carries, so that nobody who did not see
it can answer; an answer is smaller than any probe, so that nobody can be flooded with them.
"""

import os
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final

from vxnet.control.search import LEAST, ROUND_S, Search
from vxnet.errors import WireError
from vxnet.gossip.member import Address
from vxnet.wire.addr import Vtep

__all__ = ["MAGIC", "Paths", "parse"]

MAGIC: Final = 0xE9
"""The first octet of these datagrams, which share the gossip's port."""

_PROBE, _ANSWER = 1, 2
_HEADER = Struct("!BBQ")
UDP_BYTES: Final = {4: 28, 16: 48}
"""IP and UDP headers, by the octets of an address."""

PROBES_PER_S: Final = 50.0  # of all peers together, to confirm what is known
CONFIRM_S: Final = 1.0
CONFIRM_MOST_S: Final = 5.0  # three misses after it, a black hole is found within 10 s
WAITING_MAX: Final = 4096

Send = Callable[[Address, bytes], None]
Told = Callable[[Vtep, int | None], None]


def parse(data: bytes) -> tuple[bool, int]:
    """Whether a datagram is a probe (else an answer), and its number. Raises WireError."""
    if len(data) < _HEADER.size:
        raise WireError(f"a path probe of {len(data)} octets; at least {_HEADER.size} are needed")
    magic, kind, number = _HEADER.unpack_from(data)
    if magic != MAGIC or kind not in (_PROBE, _ANSWER):
        raise WireError(f"a path probe of kind {magic:#04x} {kind}")
    return kind == _PROBE, number


class Paths:
    """The searches to all peers. `most` is the underlay's MTU; `told` hears what was found."""

    def __init__(self, most: int, send: Send, told: Told) -> None:
        self._most = most
        self._send = send
        self._told = told
        self._searches: dict[Address, Search] = {}
        self._vteps: dict[Address, Vtep] = {}
        self._known: dict[Address, int | None] = {}
        self._waiting: dict[int, tuple[Address, int]] = {}
        self.refused = 0  # datagrams that are no probes

    def set_peers(self, peers: Iterable[tuple[Vtep, Address]], now: float) -> None:
        """Whose ways are of interest now."""
        wanted = {address: vtep for vtep, address in peers}
        for address in self._searches.keys() - wanted.keys():
            del self._searches[address]
            self._told(self._vteps[address], None)
            self._known.pop(address, None)
        self._vteps = wanted
        for address in wanted.keys() - self._searches.keys():
            self._searches[address] = Search(self._most, now)

    def mtus(self) -> dict[Vtep, int]:
        """What was found: octets of outer IP packets."""
        return {
            self._vteps[address]: search.mtu
            for address, search in self._searches.items()
            if search.mtu is not None
        }

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """A datagram of this kind arrived."""
        try:
            is_probe, number = parse(data)
        except WireError:
            self.refused += 1
            return
        if is_probe:
            self._send(source, _HEADER.pack(MAGIC, _ANSWER, number))
            return
        address, size = self._waiting.pop(number, (None, 0))
        if address is None or address != source:
            self.refused += 1
        elif address in self._searches:
            self._searches[address].answered(size, now, self._confirm_s())
            self._tell(address)

    def tick(self, now: float) -> None:
        """Try what is due. To be called several times a second."""
        for address, search in self._searches.items():
            if now >= search.deadline:
                for size in search.due(now, ROUND_S):
                    self._probe(address, size)
                self._tell(address)

    def _confirm_s(self) -> float:
        return min(CONFIRM_MOST_S, max(CONFIRM_S, len(self._searches) / PROBES_PER_S))

    def _probe(self, address: Address, size: int) -> None:
        number = int.from_bytes(os.urandom(8), "big")
        if len(self._waiting) >= WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[number] = (address, size)
        payload = size - UDP_BYTES[len(address.ip)]
        self._send(address, _HEADER.pack(MAGIC, _PROBE, number).ljust(payload, b"\0"))

    def _tell(self, address: Address) -> None:
        mtu = self._searches[address].mtu
        found = None if mtu is None or mtu >= self._most else max(mtu, LEAST)
        if self._known.get(address) != found:
            self._known[address] = found
            self._told(self._vteps[address], found)
