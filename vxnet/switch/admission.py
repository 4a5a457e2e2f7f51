"""Whom to believe: who may speak from where, and what stations say of their addresses."""

from collections.abc import Callable

from vxnet.switch.actions import (
    Deliver,
    Drop,
    DropReason,
    DuplicateIp,
    Forgotten,
    Learned,
    Looped,
    Moved,
    PortId,
    Reply,
    Send,
)
from vxnet.switch.contention import Contention
from vxnet.switch.fdb import Fdb
from vxnet.switch.journal import Journal
from vxnet.switch.limits import Limits
from vxnet.switch.loops import Flaps
from vxnet.switch.model import Port, Segment
from vxnet.switch.neighbours import Neighbours, Notice, answer, is_link_local
from vxnet.switch.places import LocalPort, Place, RemotePeer, Source, Station
from vxnet.wire.addr import Ip, Mac, Vtep

__all__ = ["Admission"]

_NO_MAC = bytes(6)
_TOLD_AGAIN_S = 1.0  # how often the same station is reported as moved

_LOOPED = Drop(DropReason.LOOPED)
_PORT_SECURITY = Drop(DropReason.PORT_SECURITY)
_SOURCE_MAC_INVALID = Drop(DropReason.SOURCE_MAC_INVALID)


class Admission:
    """The stations of one network, and the rules by which frames may change what is known of them.

    What the control plane and ports vouch for stands; what frames say is learned, within limits,
    and told.
    """

    def __init__(
        self,
        segment: Segment,
        limits: Limits,
        journal: Journal,
        on_block: Callable[[], None],
    ) -> None:
        """`on_block` is called when a port was blocked."""
        self.segment = segment
        self.fdb = Fdb(limits)
        self.neighbours = Neighbours(limits.ips_per_station_max)
        self._limits = limits
        self._journal = journal
        self._on_block = on_block
        self._contention = Contention(limits)

    def vouch(self, station: Station) -> None:
        """Enter a station that is vouched for, in place of whatever was known of its MAC."""
        known = self.fdb.stations.get(station.mac)
        if known is not None:
            self.forget(known)
        self.fdb.put(station)
        self.neighbours.fix(station)

    def forget(self, station: Station) -> None:
        """Nothing is known of a station any more."""
        self.fdb.remove(station.mac)
        self.neighbours.forget(station)
        if station.source is Source.LEARNED and isinstance(station.action, Deliver):
            self._journal.tell(Forgotten(self.segment.vni, station.mac, station.action.port))

    def admit(
        self, local: LocalPort, source: bytes, known: Station | None, now: float
    ) -> Drop | None:
        """A port sends from a MAC that the table does not have behind it: learn, or refuse."""
        if local.blocked_until is not None:
            return _LOOPED
        assigned = local.port.mac
        if assigned is not None:
            if source != assigned:
                return _PORT_SECURITY
        elif source[0] & 1 or source == _NO_MAC:
            return _SOURCE_MAC_INVALID
        if known is None:
            self._learn_local(local, Mac(source), now)
        elif known.source is Source.LOCAL:
            return _PORT_SECURITY  # another port's own
        elif self._is_looped(local, known, now):
            return _LOOPED
        elif known.source is Source.CONTROL:
            self._tell_moved(local, known, now)
        else:
            self._move_here(local, known, now)
        return None

    def admit_remote(
        self, remote: RemotePeer, source: bytes, known: Station | None, now: float
    ) -> Drop | None:
        """A peer sends from a MAC that the table does not have behind it: learn, or refuse."""
        if source[0] & 1 or source == _NO_MAC:
            return _SOURCE_MAC_INVALID
        learns = remote.learning and self.segment.learning
        if known is None:
            if learns and self._make_room(remote, now):
                self.fdb.learn(Mac(source), remote, now)
        elif known.source is Source.LEARNED and learns:
            left = known.action
            if self._make_room(remote, now):
                self.fdb.move(known, remote, now)
                if isinstance(left, Deliver):
                    self._journal.tell(Forgotten(self.segment.vni, known.mac, left.port))
        elif isinstance(known.action, Deliver):
            return _SOURCE_MAC_INVALID  # one of our own: a loop, or a forgery
        return None

    def heed(
        self, local: LocalPort, source: bytes, destination: bytes, notice: Notice, now: float
    ) -> Reply | Drop | None:
        """Check and note what a port says of neighbours, and answer what it asks."""
        mac = notice.mac if notice.mac is not None else source
        if notice.ip is not None:
            if not self._may_claim(local.port, mac, notice.ip):
                return _PORT_SECURITY
            if mac == source and not notice.is_tagged:
                self._hear_local(local, notice.ip, source, now)
        question, wanted = notice.question, notice.wanted
        if (
            question is None
            or wanted is None
            or notice.is_tagged  # the addresses inside tags are not this network's
        ):
            return None
        owner = self.neighbours.find(wanted)
        if owner is None and not question.is_probe:
            owner = self.neighbours.stand_ins.get(wanted)
        if owner is not None and owner.source is Source.SERVICE:
            return Reply(answer(question, Mac(source), owner))  # nobody else would
        if not self.segment.suppress_neighbours or not destination[0] & 1:
            return None  # asked of the owner itself, to see if it lives
        if owner is None or owner.mac in (source, mac) or owner.action is local.action:
            return None
        if question.is_probe and not self.neighbours.is_fixed(wanted):
            return None  # what was only heard is not enough to make somebody give an address up
        return Reply(answer(question, Mac(source), owner))

    def heed_remote(self, remote: RemotePeer, source: bytes, notice: Notice, now: float) -> None:
        """Note what a learning peer's station says of itself."""
        station = self.fdb.stations.get(source)
        if (
            notice.ip is not None
            and not notice.is_tagged
            and notice.mac in (None, source)
            and station is not None
            and station.place is remote
        ):
            self._contend(notice.ip, station, now)
            if self.neighbours.is_news(notice.ip, station):
                self.neighbours.hear(notice.ip, station)

    def _make_room(self, place: Place, now: float) -> bool:
        """See to it that one more station may be learned behind a place."""
        if self.fdb.has_room(place):
            return True
        victim = self.fdb.victim(place, now)
        if victim is None:
            self._journal.refused += 1
            return False
        self.forget(victim)
        return True

    def _may_tell(self, local: LocalPort, now: float) -> bool:
        """Whether a port may cause another event; what cannot be told is not done."""
        if not self._journal.is_full and local.news.take(now):
            return True
        self._journal.refused += 1
        return False

    def _learn_local(self, local: LocalPort, mac: Mac, now: float) -> None:
        if self._may_tell(local, now) and self._make_room(local, now):
            self.fdb.learn(mac, local, now)
            self._journal.tell(Learned(self.segment.vni, mac, local.port.id))

    def _move_here(self, local: LocalPort, station: Station, now: float) -> None:
        """A learned station was seen behind a port, where it was not before."""
        if self._may_tell(local, now) and self._make_room(local, now):
            self.fdb.move(station, local, now)
            for ip in (None, *station.heard):
                self._journal.tell(Learned(self.segment.vni, station.mac, local.port.id, ip))

    def _tell_moved(self, local: LocalPort, station: Station, now: float) -> None:
        """A station held elsewhere by the control plane speaks here; that one is to decide."""
        if station.told is not None and now - station.told < _TOLD_AGAIN_S:
            return
        if isinstance(station.action, Send) and self._may_tell(local, now):
            station.told = now
            vni, vtep = self.segment.vni, station.action.vtep
            self._journal.tell(Moved(vni, station.mac, vtep, local.port.id))

    def _is_looped(self, local: LocalPort, station: Station, now: float) -> bool:
        """A station is seen behind a port where it was not. Whether that port has to be blocked."""
        before = station.place if station.source is Source.LEARNED else station.sighted
        station.sighted = local
        if before is local or not isinstance(before, LocalPort):
            return False
        if station.flaps is None:
            station.flaps = Flaps(self._limits)
        culprit = station.flaps.note(before.port.id, local.port.id, now)
        if culprit is None:
            return False
        blocked, other = (local, before) if culprit == local.port.id else (before, local)
        self._block(blocked, now)
        self._journal.tell(Looped(self.segment.vni, station.mac, blocked.port.id, other.port.id))
        return blocked is local

    def _block(self, local: LocalPort, now: float) -> None:
        """Nothing in or out of a port for a while; its frames then all come by `admit`."""
        for station in self.fdb.learned(local):
            self.forget(station)
        local.blocked_until = now + self._limits.blocked_s
        local.stations = {}
        self._on_block()

    def _may_claim(self, port: Port, mac: Mac | bytes, ip: Ip) -> bool:
        """Whether a port may say that `mac` has `ip`: anything, or only what it was given."""
        if port.mac is None:
            return True
        if mac != port.mac:
            return False
        if not port.ips or ip in port.ips:
            return True
        # Hosts make link-local addresses themselves; only one that is another's is refused.
        owner = self.neighbours.find(ip)
        return is_link_local(ip) and (owner is None or owner.mac == mac)

    def _hear_local(self, local: LocalPort, ip: Ip, source: bytes, now: float) -> None:
        station = self.fdb.stations.get(source)
        if station is None or station.place is not local:
            return
        self._contend(ip, station, now)
        if self.neighbours.is_news(ip, station) and self._may_tell(local, now):
            self.neighbours.hear(ip, station)
            self._journal.tell(Learned(self.segment.vni, station.mac, local.port.id, ip))

    def _contend(self, ip: Ip, station: Station, now: float) -> None:
        """A station claims an address: see whether it is another's."""
        other = self.neighbours.find(ip)
        if other is None or other is station or self._journal.is_full:
            return
        if self._contention.note(ip, now, is_fixed=self.neighbours.is_fixed(ip)):
            at, other_at = _where(station), _where(other)
            self._journal.tell(
                DuplicateIp(self.segment.vni, ip, station.mac, at, other.mac, other_at)
            )


def _where(station: Station) -> PortId | Vtep:
    action = station.action
    return action.port if isinstance(action, Deliver) else action.vtep
