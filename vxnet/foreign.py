"""Foreign VTEPs as members of networks: those of the settings, and those that a command named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from vxnet.datapath.base import Peer
from vxnet.errors import HostError, StateError
from vxnet.forwarding import Forwarding
from vxnet.host.base import Store
from vxnet.networks import Networks
from vxnet.wire.addr import Ip, Vni, Vtep, format_ip, parse_ip

__all__ = ["ForeignPeer", "ForeignPeers"]

TABLE: Final = "foreign"
PEERS_MAX: Final = 1_024
"""Of one network: each gets a copy of what is flooded."""

MTU_MIN: Final = 576


@dataclass(frozen=True, slots=True)
class ForeignPeer:
    """One of them, and who named it: `settings`, `command` or `learned`."""

    peer: Peer
    source: str


class _Row(msgspec.Struct, frozen=True):
    """As it is kept."""

    vni: int
    ip: str
    port: int
    learning: bool
    mtu: int | None


class ForeignPeers:
    """What this host reaches beyond the cluster. What a command named outlives the daemon."""

    def __init__(self, networks: Networks, forwarding: Forwarding, store: Store, own: Vtep) -> None:
        self._networks = networks
        self._forwarding = forwarding
        self._store = store
        self._own = own
        self._configured: dict[Vni, dict[Ip, Peer]] = {}
        self._named: dict[Vni, dict[Ip, Peer]] = {}

    async def load(self) -> None:
        """Take up what was named before a restart. Raises HostError where it is damaged."""
        for key, value in await self._store.rows(TABLE):
            try:
                row = msgspec.json.decode(value, type=_Row)
                ip = parse_ip(row.ip)
            except (msgspec.MsgspecError, ValueError) as error:
                raise HostError(f"what was saved of the peer {key} is damaged: {error}") from None
            peer = Peer(Vtep(ip, row.port), row.learning, row.mtu)
            self._named.setdefault(Vni(row.vni), {})[ip] = peer
        self._apply(set(self._named))

    def configure(self, peers: Mapping[Vni, Sequence[Peer]]) -> None:
        """Those of the settings, in place of the former ones."""
        before = set(self._configured)
        self._configured = {
            vni: {peer.vtep.ip: peer for peer in some} for vni, some in peers.items()
        }
        self._apply(before | set(self._configured))

    def of(self, name: str) -> list[ForeignPeer]:
        """Those of a network, by address. Raises StateError for an unknown one."""
        vni = self._vni(name)
        found = {
            **{ip: ForeignPeer(p, "learned") for ip, p in self._forwarding.met(vni).items()},
            **{ip: ForeignPeer(p, "command") for ip, p in self._named.get(vni, {}).items()},
            **{ip: ForeignPeer(p, "settings") for ip, p in self._configured.get(vni, {}).items()},
        }
        return [found[ip] for ip in sorted(found, key=lambda ip: (len(ip), ip))]

    async def add(self, name: str, peer: Peer) -> ForeignPeer:
        """Reach a VTEP from now on, or change how. Raises StateError for what does not fit."""
        vni, ip = self._vni(name), peer.vtep.ip
        if len(ip) != len(self._own.ip):
            raise StateError(
                f"{format_ip(ip)} is of another version of IP than this host's VTEP, "
                f"{format_ip(self._own.ip)}; outer packets need one version"
            )
        if ip == self._own.ip:
            raise StateError(f"{format_ip(ip)} is this host's own VTEP")
        if peer.mtu is not None and peer.mtu < MTU_MIN:
            raise StateError(f"an MTU of {peer.mtu} is too small; {MTU_MIN} is the least")
        if ip in self._configured.get(vni, {}):
            raise StateError(f"{peer.vtep} is named in the settings; change it there")
        if any(peer.vtep == vtep for vtep in self._forwarding.peers(vni).values()):
            raise StateError(f"{peer.vtep} is a host of the cluster, and a peer already")
        named = self._named.setdefault(vni, {})
        if ip not in named and len(named) >= PEERS_MAX:
            raise StateError(f"network {name} has {PEERS_MAX} foreign peers; there is no room")
        row = _Row(vni, format_ip(ip), peer.vtep.port, peer.learning, peer.mtu)
        await self._store.put(TABLE, _key(vni, ip), msgspec.json.encode(row))
        named[ip] = peer
        self._apply({vni})
        return ForeignPeer(peer, "command")

    async def remove(self, name: str, ip: Ip) -> ForeignPeer:
        """Reach a VTEP no longer. Raises StateError where no command named it."""
        vni = self._vni(name)
        if ip in self._configured.get(vni, {}):
            raise StateError(f"{format_ip(ip)} is named in the settings; remove it there")
        peer = self._named.get(vni, {}).get(ip)
        if peer is None:
            raise StateError(
                f"{format_ip(ip)} is no foreign peer of network {name}; "
                f"see: vxnet network peer ls {name}"
            )
        await self._store.delete(TABLE, _key(vni, ip))
        del self._named[vni][ip]
        self._apply({vni})
        return ForeignPeer(peer, "command")

    def _apply(self, vnis: set[Vni]) -> None:
        for vni in vnis:
            peers = {**self._named.get(vni, {}), **self._configured.get(vni, {})}
            self._forwarding.set_foreign_peers(vni, tuple(peers.values()))

    def _vni(self, name: str) -> Vni:
        network = self._networks.get(name)
        if network.vni is None:
            raise StateError(f"a {network.driver} network has no VTEPs; foreign ones need VXLAN")
        return network.vni


def _key(vni: Vni, ip: Ip) -> str:
    return f"{vni} {format_ip(ip)}"
