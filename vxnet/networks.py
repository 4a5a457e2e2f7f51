"""The verbs of networks: create, list, inspect, remove. Check, save, drive, undo on failure."""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from vxnet.addresses import Addresses
from vxnet.cnm.driver import NetworkDriver, Scope
from vxnet.cnm.model import Network, NetworkId, Subnet
from vxnet.cnm.subnets import choose_subnets, overlap
from vxnet.control.base import ControlPlane
from vxnet.errors import StateError
from vxnet.forwarding import Forwarding
from vxnet.network_table import NetworkTable
from vxnet.surroundings import Surroundings
from vxnet.wire.addr import PROBE_VNI, VNI_MAX, Vni

__all__ = ["NetworkRequest", "Networks", "check_name"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ID_DIGITS_MIN: Final = 6
ON_SEGMENT: Final = frozenset({"macvlan", "ipvlan"})
"""Drivers whose networks are a part of the hosts' own."""


def check_name(what: str, name: str) -> None:
    """Raises StateError for a name that could not be typed or shown."""
    if not NAME.fullmatch(name):
        raise StateError(
            f"{what} {name!r}: a name is 1 to 64 letters, digits, dots, dashes or underscores, "
            "and starts with a letter or digit"
        )


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What somebody wants a network to be; what is None or empty is chosen."""

    name: str
    driver: str = "overlay"
    subnets: tuple[Subnet, ...] = ()
    vni: int | None = None
    mtu: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    foreign_addresses: bool = False
    """Somebody else hands out its addresses (Docker's swarm), so it has no subnets."""
    allow_overlap: bool = False
    """Whether its subnets may be another network's, or a host's, too."""


class Networks:
    """The networks of the cluster and of this host, as people and programs ask for them."""

    def __init__(
        self,
        table: NetworkTable,
        control: ControlPlane,
        forwarding: Forwarding,
        addresses: Addresses,
        surroundings: Surroundings,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._table = table
        self._control = control
        self._forwarding = forwarding
        self._addresses = addresses
        self._surroundings = surroundings
        self._now_ms = now_ms

    def __iter__(self) -> Iterator[Network]:
        """All networks, in the order of their names."""
        return iter(self._table)

    def get(self, name: str) -> Network:
        """The network of this name, or whose id starts so. Raises StateError."""
        if (found := self._table.find(name)) is not None:
            return found
        if len(name) >= ID_DIGITS_MIN and (by_id := [n for n in self if n.id.startswith(name)]):
            return by_id[0]
        close = difflib.get_close_matches(name, [network.name for network in self], n=1)
        hint = f"did you mean {close[0]}?" if close else "see: vxnet network ls"
        raise StateError(f"there is no network {name}; {hint}")

    def by_id(self, network: NetworkId) -> Network | None:
        """The network of this id, while there is one."""
        return self._table.by_id(network)

    def driver(self, network: Network) -> NetworkDriver:
        """What makes this network real. Raises StateError where this host has no such driver."""
        return self._table.drivers.get(network.driver)

    def drivers(self) -> list[NetworkDriver]:
        """What this host can make networks with."""
        return list(self._table.drivers)

    async def load(self) -> None:
        """Take up what was known before a restart. Raises HostError where it is damaged."""
        await self._table.load()
        for network in self:
            if (driver := self._table.drivers.find(network.driver)) is not None:
                await driver.create_network(network)
            self._addresses.open(network)
            if not self._table.is_local(network.name):
                self._table.note(network.name)

    async def create(self, request: NetworkRequest) -> Network:
        """Make a network; one of a global driver is made on every host. Raises StateError."""
        async with self._table.turns:
            plan = await self._plan(request)
            if self.driver(plan).scope is Scope.LOCAL:
                return await self._create_local(plan)
            return await self._create_global(plan)

    async def ensure(self, request: NetworkRequest) -> Network:
        """The network of this name, made if there is none yet."""
        known = self._table.find(request.name)
        return await self.create(request) if known is None else known

    async def remove(self, name: str) -> None:
        """Remove a network, on every host that knows it. Raises StateError while it is in use."""
        async with self._table.turns:
            network = self.get(name)
            self._check_unused(network)
            driver = self.driver(network)
            if self._table.is_local(network.name):
                await driver.delete_network(network)
                await self._table.remove_local(network.name)
                await self._addresses.forget(network.id)
                return
            catalogue = self._table.catalogue
            before = catalogue.winner(network.name)
            catalogue.remove(network.name, now_ms=self._now_ms())
            try:
                await self._table.save(network.name)
                await driver.delete_network(network)
                self._table.publish(network.name)
            except BaseException:
                catalogue.undo(network.name, before)
                await self._table.save(network.name)
                raise
            self._table.note(network.name)
            await self._addresses.forget(network.id)

    async def _create_local(self, plan: Network) -> Network:
        network = await self._table.add_local(plan, self._now_ms())
        try:
            await self.driver(network).create_network(network)
            await self._addresses.begin(network)
        except BaseException:
            await self._table.remove_local(network.name)
            raise
        return network

    async def _create_global(self, plan: Network) -> Network:
        catalogue = self._table.catalogue
        before = catalogue.winner(plan.name)
        network = catalogue.create(plan, now_ms=self._now_ms())
        try:
            await self._table.save(network.name)
            await self.driver(network).create_network(network)
            await self._addresses.begin(network)
            self._table.publish(network.name)
        except BaseException:
            catalogue.undo(network.name, before)
            await self._table.save(network.name)
            raise
        self._table.note(network.name)
        return network

    async def _plan(self, request: NetworkRequest) -> Network:
        """The network that was asked for, complete. Raises StateError for what does not fit."""
        check_name("network", request.name)
        if self._table.find(request.name) is not None:
            raise StateError(f"there is already a network {request.name}")
        driver = self._table.drivers.get(request.driver)
        if (missing := await driver.lacks()) is not None:
            raise StateError(f"the {driver.name} driver cannot run on this host: {missing}")
        if request.vni is not None and not driver.uses_vni:
            raise StateError(f"a {driver.name} network has no VNI; leave out --vni")
        _check_apart(request.subnets)
        subnets = request.subnets
        if subnets and not request.allow_overlap:
            await self._check_beside(subnets, driver)
        if not subnets and not request.foreign_addresses:
            taken = [subnet.prefix for network in self for subnet in network.subnets]
            taken += [prefix for _, prefix in await self._surroundings.here()]
            taken += [prefix for _, prefix in self._surroundings.elsewhere()]
            subnets = choose_subnets(request.name, taken)
        network = Network(
            id=NetworkId(""),  # given when it is kept
            name=request.name,
            driver=request.driver,
            mtu=request.mtu or 0,
            vni=self._choose_vni(request) if driver.uses_vni else None,
            subnets=subnets,
            options=request.options,
            creator=self._control.members()[0].id,
        )
        return await driver.complete(network)

    async def _check_beside(self, subnets: tuple[Subnet, ...], driver: NetworkDriver) -> None:
        """Raises StateError where a subnet is another network's, or would hide what a host has."""
        taken = [
            (s.prefix, f"is network {network.name}'s") for network in self for s in network.subnets
        ]
        if driver.name not in ON_SEGMENT:
            around = await self._surroundings.here()
            if driver.scope is Scope.GLOBAL:
                around += self._surroundings.elsewhere()
            taken += [(prefix, f"host {host} has or routes to") for host, prefix in around]
        for subnet in subnets:
            for prefix, whose in taken:
                if overlap(subnet.prefix, prefix):
                    raise StateError(
                        f"the subnet {subnet.prefix} overlaps {prefix}, which {whose}; "
                        "choose another, or say --allow-overlap"
                    )

    def _choose_vni(self, request: NetworkRequest) -> Vni:
        catalogue = self._table.catalogue
        if request.vni is None:
            return catalogue.free_vni(request.name)
        if not 0 <= request.vni <= VNI_MAX:
            raise StateError(f"VNI {request.vni} is out of range; it is 0 to {VNI_MAX}")
        vni = Vni(request.vni)
        if vni == PROBE_VNI:
            raise StateError(f"VNI {vni} is what hosts probe each other in; choose another or none")
        if (holder := catalogue.holder_of(vni)) is not None:
            raise StateError(f"VNI {vni} belongs to network {holder}; choose another or none")
        return vni

    def _check_unused(self, network: Network) -> None:
        if users := self._table.used_by(network):
            raise StateError(
                f"network {network.name} is used by {', '.join(users)} of this host; "
                "take those away first"
            )
        if holders := self._addresses.holders_elsewhere(network):
            raise StateError(
                f"network {network.name} is used by {', '.join(holders)}; detach them there first"
            )
        elsewhere = {} if network.vni is None else self._forwarding.peers(network.vni)
        if elsewhere:
            names = {member.id: member.name for member in self._control.members()}
            hosts = sorted(names.get(owner, str(vtep)) for owner, vtep in elsewhere.items())
            raise StateError(
                f"network {network.name} is used by endpoints of {', '.join(hosts)}; "
                "detach them there first"
            )


def _check_apart(subnets: tuple[Subnet, ...]) -> None:
    for position, subnet in enumerate(subnets):
        for other in subnets[:position]:
            if overlap(subnet.prefix, other.prefix):
                raise StateError(f"the subnets {other.prefix} and {subnet.prefix} overlap")
