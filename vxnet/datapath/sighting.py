"""The engine's rows of frames that somebody watched, as sights."""

from collections.abc import Mapping, Sequence

from vxnet.datapath.sight import End, Sight, Verb
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire.addr import Ip, Vni, Vtep

__all__ = ["Row", "sight_of"]

Row = tuple[int, int, int | None, bytes, int, tuple[int, int], int, int, bytes]
"""Time, VNI, port, outer source, verb, its numbers, frames, length, octets (`Engine.sights`)."""


def sight_of(row: Row, vteps: Mapping[int, Vtep], reasons: Sequence[DropReason]) -> Sight:
    """A row in Python's words, by the numbers that the engine has for VTEPs and reasons."""
    at_ns, vni, port, ip, verb, numbers, frames, length, octets = row
    entrance = Ip(ip) if port is None else PortId(port)
    end = _end(verb, numbers, vteps, reasons)
    return Sight(at_ns, Vni(vni), entrance, end, frames, length, octets)


def _end(
    verb: int,
    numbers: tuple[int, int],
    vteps: Mapping[int, Vtep],
    reasons: Sequence[DropReason],
) -> End:
    match verb:
        case 0:
            return End(Verb.DROPPED, reason=reasons[numbers[0]])
        case 1:
            return End(Verb.DELIVERED, port=PortId(numbers[0]))
        case 2:
            return End(Verb.SENT, vtep=vteps.get(numbers[0]))
        case 3:
            return End(Verb.FLOODED, ports=numbers[0], vteps=numbers[1])
        case _:
            return End(Verb.REPLIED)
