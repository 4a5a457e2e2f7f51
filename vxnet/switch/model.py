"""What the switch is told and tells: networks, ports, peers, stations, and rows for people."""

from dataclasses import dataclass
from typing import NamedTuple

from vxnet.switch.actions import PortId
from vxnet.wire.addr import Ip, Mac, Vni, Vtep

__all__ = [
    "Change",
    "FdbRow",
    "Member",
    "Peer",
    "Port",
    "RemoveEntry",
    "Segment",
    "Service",
    "ServicePort",
    "ServiceStations",
    "SetEntry",
    "SetPeers",
    "SetRelays",
    "SetServices",
]


@dataclass(frozen=True, slots=True)
class Segment:
    """One network on this host. `mtu` is the inner IP MTU in octets."""

    vni: Vni
    mtu: int
    learning: bool = True  # learn stations from data, for peers that say so
    flood_unknown: bool = True
    suppress_neighbours: bool = True  # answer ARP and ND for known addresses here
    snoop_multicast: bool = True  # once a querier is seen, streams go only to who listens
    vlan_transparent: bool = False
    strict_reserved: bool = False
    learn_vteps: bool = False  # a VTEP that is no peer becomes one when it sends
    dscp: int | None = 0  # of the outer header (RFC 2983's pipe); None copies the inner one


@dataclass(frozen=True, slots=True)
class Port:
    """One endpoint. `mac` and `ips` are what vxnet assigned; None and () where any may speak.

    A `private` one is this host's own, and every other host has its like under the same addresses:
    what it floods stays here, and it is not flooded to, as its neighbours are answered for it.
    """

    id: PortId
    vni: Vni
    mac: Mac | None = None
    ips: tuple[Ip, ...] = ()
    private: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """Another VTEP that has a network."""

    vtep: Vtep
    learning: bool = False  # a foreign VTEP: its stations are learned from what it sends
    mtu: int | None = None  # of IP inside, where the way to it is known to carry so much only
    completes_checksums: bool = False  # inner checksums may be left to it


@dataclass(frozen=True, slots=True)
class SetEntry:
    """A station is behind another host's `vtep`, says the control plane.

    Replaces what was known of it. A host's own stations are known by its ports, not by entries.
    """

    vni: Vni
    mac: Mac
    vtep: Vtep
    ips: tuple[Ip, ...] = ()
    router: bool = False  # the R flag of ND answers given on its behalf


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """The control plane no longer holds this station."""

    vni: Vni
    mac: Mac


@dataclass(frozen=True, slots=True)
class SetPeers:
    """All VTEPs that have this network now: who may send into it, and who is flooded to."""

    vni: Vni
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A station that serves, at this address. One that takes nothing new keeps what it has."""

    mac: Mac
    ip: Ip
    takes_new: bool = True


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service (of TCP or UDP, by number), and the members' port behind it."""

    protocol: int
    port: int
    target: int


@dataclass(frozen=True, slots=True)
class Service:
    """An address of many: who asks for it is answered with `mac`, by the host it is on.

    `slots` are indices of `members`, as octets of an array of "H": whose a flow is that hashes
    there (`maglev.table`).
    """

    vni: Vni
    mac: Mac
    ip: Ip
    ports: tuple[ServicePort, ...]
    members: tuple[Member, ...]
    slots: bytes
    prefer_local: bool = False


@dataclass(frozen=True, slots=True)
class SetServices:
    """All services of this network now. Flows of a member that is in none of them end."""

    vni: Vni
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class SetRelays:
    """By whom clients outside this network reach members on this host, under their own addresses.

    `relays` are the MACs of stations that speak for them; `ports` are the members here, each with a
    protocol and a port of its own. Members answer by the network's gateway: `gateway` is the MAC it
    has wherever vxnet is it, `gateway_ips` are answered for where nobody is.
    """

    vni: Vni
    relays: frozenset[Mac] = frozenset()
    ports: frozenset[tuple[Mac, int, int]] = frozenset()
    gateway: Mac | None = None
    gateway_ips: tuple[Ip, ...] = ()


class ServiceStations(NamedTuple):
    """Of one network, by their MACs, the stations whose frames a datapath may not just forward.

    Those sent to `services` belong to a flow or begin one. Those of `servers` may belong to a flow.
    Those of `relays`, which speak for clients outside, begin one or belong to it; and those of
    `suspects` matter to the switch even where no flow is known.
    """

    vni: Vni
    services: frozenset[bytes]
    servers: frozenset[bytes]
    relays: frozenset[bytes]
    suspects: frozenset[bytes]


Change = SetEntry | RemoveEntry | SetPeers | SetServices | SetRelays


@dataclass(frozen=True, slots=True)
class FdbRow:
    """A line of the forwarding table, for people. Exactly one of `vtep` and `port` is set."""

    vni: Vni
    mac: Mac
    vtep: Vtep | None
    port: PortId | None
    ips: tuple[Ip, ...]
    source: str  # "control", "learned" or "local"
    age_s: float | None = None  # since last seen; None where it does not age
