"""The verbs of addresses: allocate, give back, list, and reclaim what a lost host owned."""

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

from vxnet.cnm.claims import LeaseRow, RequestRow, network_of_key, read_row
from vxnet.cnm.ipam import Need, Pool
from vxnet.cnm.model import Endpoint, IpAddress, IpInterface, IpNetwork, Network, NetworkId
from vxnet.cnm.subnets import place_address
from vxnet.control.base import ControlPlane
from vxnet.errors import StateError, WireError
from vxnet.gossip.events import MemberState, NodeId, RecordKind
from vxnet.pools import Pools, address_of, number_of

__all__ = ["Addresses", "Lease"]

ANSWER_WITHIN_S: Final = 1.0
HOLDERS_NAMED: Final = 6
TRIES: Final = 4
"""How many addresses of a part of a subnet are tried; another host may be asked for each."""
EAGER_MEMBERS_MAX: Final = 64
"""With more members, parts are handed on when they are asked for, not when a network is made."""


@dataclass(frozen=True, slots=True)
class Lease:
    """An address somebody holds, anywhere in the cluster."""

    network: NetworkId
    address: IpAddress
    holder: str
    owner: NodeId
    since_ms: int
    in_grace: bool


class Addresses:
    """Hands out addresses to the endpoints of this host."""

    def __init__(self, pools: Pools, control: ControlPlane, now_ms: Callable[[], int]) -> None:
        self._pools = pools
        self._control = control
        self._now_ms = now_ms
        self._requests = 0

    async def begin(self, network: Network) -> None:
        """This host just made the network."""
        members = self._live() if network.shared else []
        if len(members) > EAGER_MEMBERS_MAX:
            members = []
        await self._pools.begin(network, members)

    def open(self, network: Network) -> None:
        """Follow what other hosts say of a network's addresses from now on."""
        self._pools.open(network)

    async def allocate(
        self, network: Network, wanted: tuple[IpAddress, ...], holder: str
    ) -> tuple[IpInterface, ...]:
        """One address a subnet, the wanted ones where they fit; all or none.

        Asks other hosts where this one has none. Raises StateError where one is taken or outside
        the network, or nobody that is up has one left.
        """
        places = [place_address(network, address) for address in wanted]
        found: list[IpInterface] = []
        try:
            for prefix, pool in self._pools.open(network):
                asked = [place.ip for place in places if place.network == prefix]
                numbers: list[int | None] = [number_of(prefix, address) for address in asked]
                for number in numbers or [None]:
                    got = await self._one(network, prefix, pool, number, holder)
                    found.append(_interface(prefix, got))
            for prefix, _ in self._pools.open(network):
                await self._pools.settle((network.id, prefix))
        except BaseException:
            await self.release(network.id, tuple(found))
            raise
        return tuple(found)

    async def lease(
        self,
        network: Network,
        prefix: IpNetwork,
        holder: str,
        wanted: IpAddress | None = None,
        within: IpNetwork | None = None,
    ) -> IpInterface:
        """One address of one subnet: the wanted one, or any, or any in a part of the subnet.

        Asks other hosts as `allocate` does. Raises StateError.
        """
        pool = next(pool for subnet, pool in self._pools.open(network) if subnet == prefix)
        numbers: list[int | None] = [None]
        if wanted is not None:
            numbers = [number_of(prefix, place_address(network, wanted).ip)]
        elif within is not None:
            first = number_of(prefix, within.network_address)
            numbers = list(islice(pool.candidates(first, first + within.num_addresses - 1), TRIES))
            if not numbers:
                raise StateError(f"no address of {within} is free in network {network.name}")
        while True:
            number = numbers.pop(0)
            try:
                got = await self._one(network, prefix, pool, number, holder)
            except StateError:
                if not numbers:
                    raise
            else:
                found = _interface(prefix, got)
                try:
                    await self._pools.settle((network.id, prefix))
                except BaseException:
                    await self.release(network.id, (found,))
                    raise
                return found

    async def resume(self, network: Network, endpoint: Endpoint) -> None:
        """Hold again what an endpoint had before a restart."""
        for prefix, pool in self._pools.open(network):
            for address in endpoint.addresses:
                if address.network == prefix:
                    number = number_of(prefix, address.ip)
                    pool.resume(number, endpoint.name, endpoint.created_ms)
            await self._pools.settle((network.id, prefix))

    async def release(self, network: NetworkId, addresses: tuple[IpInterface, ...]) -> None:
        """Nobody here has these any more, though the disk refuses to note it."""
        touched = []
        for pool_id, pool in list(self._pools):
            mine = [a for a in addresses if pool_id[0] == network and a.network == pool_id[1]]
            for address in mine:
                pool.release(number_of(pool_id[1], address.ip), self._now_ms())
            if mine:
                touched.append(pool_id)
        for pool_id in touched:
            await self._pools.settle(pool_id)

    async def forget(self, network: NetworkId) -> None:
        """The network is gone."""
        await self._pools.forget(network)

    def lost(self) -> list[tuple[NetworkId, IpAddress]]:
        """Addresses in use here that another host reclaimed while this one was cut off."""
        return [
            (pool_id[0], address_of(pool_id[1], number))
            for pool_id, pool in self._pools
            for number in pool.lost()
        ]

    def leases(self) -> Iterator[Lease]:
        """Every address that anybody holds, as far as this host was told."""
        for (network, prefix), pool in self._pools:
            if not self._pools.is_told(network):
                for number, hold in pool.holds.items():
                    address, in_grace = address_of(prefix, number), hold.until_ms is not None
                    yield Lease(
                        network, address, hold.holder, self._pools.me, hold.since_ms, in_grace
                    )
        for record in self._control.records(RecordKind.CLAIM):
            if record.key[:1] != b"L":
                continue
            with suppress(WireError, ValueError):
                network, about = network_of_key(record.key)
                row = read_row(record.key, record.body)
                if isinstance(row, LeaseRow):
                    yield Lease(
                        network,
                        ipaddress.ip_address(about),
                        row.holder,
                        record.owner,
                        row.since_ms,
                        row.in_grace,
                    )

    def is_own(self, lease: Lease) -> bool:
        """Whether this host gave the address."""
        return lease.owner == self._pools.me

    def holders_elsewhere(self, network: Network) -> list[str]:
        """The endpoints of other hosts that hold addresses of a network."""
        return sorted(
            {
                f"endpoint {lease.holder} of {self.name_of(lease.owner)}"
                for lease in self.leases()
                if lease.network == network.id
                and lease.owner != self._pools.me
                and not lease.in_grace
            }
        )

    async def reclaim(self, host: str) -> int:
        """Take over what a host owned that will not come back; returns how many addresses.

        Raises StateError while the host is up: it would go on handing them out.
        """
        known = [m for m in self._control.members() if host in (m.name, f"{m.id:016x}")]
        owners = {NodeId(s.owner) for _, pool in self._pools for s in pool.ring}
        ids = {member.id for member in known} | {o for o in owners if host == f"{o:016x}"}
        if not ids:
            names = ", ".join(sorted(member.name for member in self._control.members()))
            raise StateError(f"there is no host {host}; the hosts known are {names}")
        for member in known:
            if member.local or member.state in (MemberState.ALIVE, MemberState.SUSPECT):
                raise StateError(
                    f"{member.name} is {member.state}; only what a dead host owned is reclaimed"
                )
        taken = 0
        for pool_id, pool in list(self._pools):
            count = sum(pool.reclaim(owner) for owner in ids)
            if count:
                taken += count
                await self._pools.settle(pool_id)
        return taken

    def name_of(self, owner: NodeId) -> str:
        """A host's name."""
        names = {member.id: member.name for member in self._control.members()}
        return names.get(owner, f"a host that is gone ({owner:016x})")

    async def _one(
        self, network: Network, prefix: IpNetwork, pool: Pool, wanted: int | None, holder: str
    ) -> IpAddress:
        """An address of one subnet, from this host's part or from another's."""
        reasons: dict[NodeId, str] = {}
        while True:
            try:
                got = pool.allocate(holder, self._now_ms(), wanted=wanted, start=pool.first)
            except StateError as error:
                assert wanted is not None
                raise self._taken(network, prefix, wanted, f"{error} of this host") from None
            if not isinstance(got, Need):
                return address_of(prefix, got)
            live = set(self._live())
            askable = [o for o in map(NodeId, got.owners) if o in live and o not in reasons]
            if not askable:
                raise self._nobody(network, prefix, wanted, got, reasons)
            owner = askable[0]
            reason = await self._ask(network, prefix, pool, owner, wanted)
            if reason is not None:
                reasons[owner] = reason

    async def _ask(
        self, network: Network, prefix: IpNetwork, pool: Pool, owner: NodeId, wanted: int | None
    ) -> str | None:
        """Ask a host for an address; returns why it gave none, or None where it gave."""
        self._requests += 1
        request = RequestRow(owner, self._requests, str(prefix), -1 if wanted is None else wanted)
        free = pool.free()
        key = self._pools.tell(request, network.id, self._pools.me.to_bytes(8))
        clock = asyncio.get_running_loop().time
        deadline = clock() + ANSWER_WITHIN_S
        try:
            while True:
                if wanted is not None and pool.ring.owner_of(wanted) == self._pools.me:
                    return None
                if wanted is None and pool.free() > free:
                    return None
                if (reason := self._pools.refusal(owner, request.number)) is not None:
                    return reason
                left = deadline - clock()
                if left <= 0:
                    return "it did not answer"
                await self._pools.wait(left)
        finally:
            self._pools.untell(key)

    def _nobody(
        self,
        network: Network,
        prefix: IpNetwork,
        wanted: int | None,
        need: Need,
        reasons: dict[NodeId, str],
    ) -> StateError:
        """Why there is no address, with what every host that owns some says."""
        if wanted is not None and reasons:
            ((owner, reason),) = reasons.items()
            return self._taken(network, prefix, wanted, f"{reason} of {self.name_of(owner)}")
        owners = [NodeId(owner) for owner in need.owners]
        down = [owner for owner in owners if owner not in reasons]
        said = [f"{self.name_of(owner)}: {reason}" for owner, reason in reasons.items()]
        what = (
            f"no address of {prefix} is free"
            if wanted is None
            else (f"{address_of(prefix, wanted)} cannot be had")
        )
        if down:
            said.append(
                f"{', '.join(map(self.name_of, down))} is down and owns some; bring it back, or: "
                f"vxnet ipam reclaim {down[0]:016x}"
            )
        if wanted is None and (holders := self._holders(network.id, prefix)):
            said.append(f"it is held by {holders}; remove an endpoint, or make a larger network")
        why = "; ".join(said) or "nobody that is known owns it"
        return StateError(f"{what} in network {network.name}: {why}")

    def _holders(self, network: NetworkId, prefix: IpNetwork) -> str:
        """Who has the addresses of a subnet, some of them by name."""
        names = sorted(
            {
                f"{lease.holder} of {self.name_of(lease.owner)}"
                for lease in self.leases()
                if lease.network == network and lease.address in prefix and not lease.in_grace
            }
        )
        more = len(names) - HOLDERS_NAMED
        return ", ".join(names[:HOLDERS_NAMED]) + (f" and {more} more" if more > 0 else "")

    def _taken(self, network: Network, prefix: IpNetwork, number: int, reason: str) -> StateError:
        address = address_of(prefix, number)
        return StateError(f"{address} of network {network.name} cannot be had: {reason}")

    def _live(self) -> list[NodeId]:
        return [
            member.id
            for member in self._control.members()
            if not member.local and member.state is MemberState.ALIVE
        ]


def _interface(prefix: IpNetwork, address: IpAddress) -> IpInterface:
    return ipaddress.ip_interface(f"{address}/{prefix.prefixlen}")
