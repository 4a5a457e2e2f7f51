"""Stations, and the places they are behind: ports of this host, and tunnels."""

from enum import StrEnum
from typing import TYPE_CHECKING

from vxnet.switch.actions import Deliver, Drop, DropReason, Send
from vxnet.switch.bucket import TokenBucket
from vxnet.switch.limits import Limits
from vxnet.switch.model import Port
from vxnet.wire.addr import Ip, Mac, Vtep

if TYPE_CHECKING:
    from vxnet.switch.balancer import Balancer
    from vxnet.switch.loops import Flaps

__all__ = ["LocalPort", "Place", "RemotePeer", "Source", "Station"]

_SPLIT_HORIZON = Drop(DropReason.SPLIT_HORIZON)


class Place:
    """What both kinds have in common.

    `action` is what becomes of frames to its stations that a local port sent; `inward` of those
    that came out of a tunnel. Both are made once, so that a hit costs no allocation.
    """

    __slots__ = ("action", "flooding", "inward", "learned_max")

    def __init__(self, action: Deliver | Send, learned_max: int, flooding: TokenBucket) -> None:
        self.action = action
        # RFC 7348 §4: never from tunnel to tunnel.
        self.inward: Deliver | Drop = action if isinstance(action, Deliver) else _SPLIT_HORIZON
        self.learned_max = learned_max
        self.flooding = flooding


class LocalPort(Place):
    """A port of this host. `stations` is its network's table, or nothing while it is blocked."""

    __slots__ = ("balancer", "blocked_until", "news", "port", "stations")

    def __init__(
        self,
        port: Port,
        stations: "dict[bytes, Station]",
        limits: Limits,
        balancer: "Balancer",
    ) -> None:
        flooding = TokenBucket(limits.flooded_per_port_per_s, limits.flooded_per_port_burst)
        super().__init__(Deliver(port.id), limits.learned_per_port_max, flooding)
        self.port = port
        self.stations = stations
        self.balancer = balancer
        self.news = TokenBucket(limits.news_per_s, limits.news_burst)
        self.blocked_until: float | None = None


class RemotePeer(Place):
    """Another VTEP that has the network."""

    __slots__ = ("learning", "vtep")

    def __init__(self, vtep: Vtep, limits: Limits) -> None:
        flooding = TokenBucket(limits.flooded_per_peer_per_s, limits.flooded_per_peer_burst)
        super().__init__(Send(vtep), limits.learned_per_peer_max, flooding)
        self.vtep = vtep
        self.learning = False


class Source(StrEnum):
    """Why an entry is there. The text is what people see in the table."""

    CONTROL = "control"
    LOCAL = "local"
    LEARNED = "learned"
    SERVICE = "service"


class Station:
    """One entry. `ips` were assigned or announced, `heard` were seen in its ARP and ND."""

    __slots__ = (
        "action",
        "flaps",
        "heard",
        "inward",
        "ips",
        "mac",
        "place",
        "router",
        "seen",
        "sighted",
        "source",
        "told",
    )

    def __init__(self, mac: Mac, place: Place, source: Source, now: float = 0.0) -> None:
        self.mac = mac
        self.place = place
        self.action = place.action
        self.inward = place.inward
        self.source = source
        self.seen = now
        # Where it was last seen while the control plane holds it elsewhere, and when that was told.
        self.sighted: Place | None = None
        self.told: float | None = None
        self.flaps: Flaps | None = None
        self.ips: tuple[Ip, ...] = ()
        self.heard: tuple[Ip, ...] = ()
        self.router = False
