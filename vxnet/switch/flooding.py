"""Who hears a frame that is for many, or for a station nobody knows; and how many such frames."""

from collections.abc import Container, Mapping

from vxnet.errors import WireError
from vxnet.switch.actions import Action, Drop, DropReason, Flood, PortId
from vxnet.switch.limits import Limits
from vxnet.switch.model import Segment
from vxnet.switch.places import LocalPort, Place, RemotePeer
from vxnet.switch.snooping import Listeners, is_multicast_ip, is_to_all, read
from vxnet.wire.addr import Ip
from vxnet.wire.ethernet import Buffer, Ethertype
from vxnet.wire.membership import Query

__all__ = ["Flooding"]

_FRAME_BYTES = 1_500  # a super-frame counts as about as many frames as it is cut into
_CACHE_MAX = 4_096

_NO_RECEIVER = Drop(DropReason.NO_RECEIVER)
_RATE_LIMITED = Drop(DropReason.RATE_LIMITED)
_UNKNOWN_UNICAST = Drop(DropReason.UNKNOWN_UNICAST)

_Stream = tuple[Listeners, bytes, LocalPort | None]
_NEVER: tuple[int, Flood | Drop] = -1, _NO_RECEIVER


class Flooding:
    """Floods frames of one network: from a port to everybody else, from a tunnel to every port."""

    def __init__(
        self,
        segment: Segment,
        ports: Mapping[PortId, LocalPort],
        peers: Mapping[Ip, RemotePeer],
        limits: Limits,
    ) -> None:
        """`ports` and `peers` are the network's own; call `rewire` when they have changed."""
        self.segment = segment
        self._ports = ports
        self._peers = peers
        self._listeners = {
            int(Ethertype.IPV4): Listeners(limits),
            int(Ethertype.IPV6): Listeners(limits),
        }
        self._everybody: dict[LocalPort | None, Flood | Drop] = {}
        self._wanted: dict[_Stream, tuple[int, Flood | Drop]] = {}  # and for which version

    def outward(
        self, local: LocalPort, destination: bytes, ethertype: int, frame: Buffer, now: float
    ) -> Action:
        """What to do with such a frame that a port sent."""
        return self._flood(local, local, destination, ethertype, frame, now)

    def inward(
        self, remote: RemotePeer, destination: bytes, ethertype: int, frame: Buffer, now: float
    ) -> Action:
        """What to do with such a frame from a tunnel; it goes into no other (RFC 7348 §4)."""
        return self._flood(remote, None, destination, ethertype, frame, now)

    def rewire(self) -> None:
        """Ports or peers changed, so who hears a frame is found anew."""
        self._everybody.clear()
        self._wanted.clear()

    def forget(self, place: Place) -> None:
        """A port or peer is gone."""
        for listeners in self._listeners.values():
            listeners.forget(place)

    def expire(self, now: float) -> None:
        """Forget listeners that did not say again that they listen."""
        for listeners in self._listeners.values():
            listeners.expire(now)

    def _flood(
        self,
        place: LocalPort | RemotePeer,
        local: LocalPort | None,
        destination: bytes,
        ethertype: int,
        frame: Buffer,
        now: float,
    ) -> Action:
        segment = self.segment
        is_group = destination[0] & 1
        if not is_group and not segment.flood_unknown:
            return _UNKNOWN_UNICAST
        if not place.flooding.take(now, 1 + len(frame) // _FRAME_BYTES):
            return _RATE_LIMITED
        if is_group and segment.snoop_multicast:
            listeners = self._listeners.get(ethertype)
            if listeners is not None:
                return self._to_group(listeners, place, local, destination, ethertype, frame, now)
        return self._to_everybody(local)

    def _to_group(
        self,
        listeners: Listeners,
        place: Place,
        local: LocalPort | None,
        destination: bytes,
        ethertype: int,
        frame: Buffer,
        now: float,
    ) -> Action:
        try:
            message = read(frame, ethertype)
        except WireError:
            return self._to_everybody(local)  # its receivers discard it
        if message is None:
            if listeners.is_trusted(now) and is_multicast_ip(destination):
                return self._to_listeners(listeners, destination, local)
        elif isinstance(message, Query):
            listeners.on_query(place, message, is_to_all(destination), now)
        else:
            listeners.on_report(place, message.listening, now)
            routers = listeners.routers()
            if routers:
                # Hosts that hear another's report may not send their own (RFC 4541 §2.1.1), so no
                # port hears it; the other hosts' switches have to.
                return self._to(local, routers.union(self._peers.values()))
        return self._to_everybody(local)

    def _to_everybody(self, local: LocalPort | None) -> Flood | Drop:
        action = self._everybody.get(local)
        if action is None:
            everybody = {*self._ports.values(), *self._peers.values()}
            action = self._everybody[local] = self._to(local, everybody)
        return action

    def _to_listeners(
        self, listeners: Listeners, destination: bytes, local: LocalPort | None
    ) -> Flood | Drop:
        key = listeners, destination, local
        version, action = self._wanted.get(key, _NEVER)
        if version != listeners.version:
            if len(self._wanted) >= _CACHE_MAX:
                self._wanted.clear()
            action = self._to(local, listeners.listeners(destination))
            self._wanted[key] = listeners.version, action
        return action

    def _to(self, local: LocalPort | None, places: Container[Place]) -> Flood | Drop:
        """A copy to those of the places that may get one: not where it came from."""
        ports = tuple(
            port_id
            for port_id, other in self._ports.items()
            if other is not local
            and other.blocked_until is None
            and other in places
            and not (other.port.private and self.segment.suppress_neighbours)
        )
        leaves = local is not None and not local.port.private
        vteps = tuple(remote.vtep for remote in self._peers.values() if leaves and remote in places)
        return Flood(ports, vteps) if ports or vteps else _NO_RECEIVER
