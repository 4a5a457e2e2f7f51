"""Which flow the fragments of a packet belong to, of which only the first says so."""

from collections import OrderedDict
from struct import Struct
from typing import Final

from vxnet.switch.flows import Flow
from vxnet.wire import ip
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet

__all__ = ["Fragments"]

PACKETS_MAX: Final = 1_024
LIFE_S: Final = 30.0  # Linux's ipfrag_time

_FIELD = Struct("!H")
_IDENTITY_V6 = Struct("!I")
_FRAGMENT_HEADER = 8

Name = tuple[bytes, bytes, int, int]


class Fragments:
    """Packets whose first fragment was seen; the one begun longest ago goes first."""

    def __init__(self) -> None:
        self._flows: OrderedDict[Name, tuple[Flow, float]] = OrderedDict()

    @staticmethod
    def name(frame: Buffer, packet: Packet) -> Name:
        """What all fragments of a packet share (RFC 791 §2.3, RFC 8200 §4.5)."""
        source, destination = ip.addresses(frame, packet)
        if packet.version == 4:
            (identity,) = _FIELD.unpack_from(frame, packet.network + 4)
        else:
            (identity,) = _IDENTITY_V6.unpack_from(frame, packet.transport - 4)
        return source, destination, packet.protocol, identity

    @staticmethod
    def is_first(frame: Buffer, packet: Packet) -> bool:
        """Whether a fragment has the transport header."""
        if packet.version == 4:
            (field,) = _FIELD.unpack_from(frame, packet.network + 6)
            return not field & 0x1FFF
        (field,) = _FIELD.unpack_from(frame, packet.transport - _FRAGMENT_HEADER + 2)
        return not field & 0xFFF8

    def note(self, name: Name, flow: Flow, now: float) -> None:
        """The first fragment of a packet was seen."""
        self._flows[name] = (flow, now)
        if len(self._flows) > PACKETS_MAX:
            self._flows.popitem(last=False)

    def find(self, name: Name, now: float) -> Flow | None:
        """The flow of another one."""
        found = self._flows.get(name)
        return None if found is None or now - found[1] > LIFE_S else found[0]
