"""The verbs of services, and what they are made of: one record for all hosts, members by name rows.

Every host programs its own datapath from the same rows, so all balance alike and nobody leads.
"""

import asyncio
import contextlib
import ipaddress
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from vxnet.addresses import Addresses
from vxnet.cnm.model import EndpointId, IpAddress, Network, NetworkId, derive_mac
from vxnet.cnm.services import (
    Health,
    PortRow,
    ServiceCatalogue,
    ServiceRow,
    write_service,
)
from vxnet.control.base import ControlPlane
from vxnet.datapath.base import Member, Service, ServicePort, SetServices
from vxnet.errors import HostError, StateError, VxnetError, WireError
from vxnet.forwarding import Forwarding
from vxnet.gossip.events import Event, RecordGone, RecordKind, RecordSet
from vxnet.host.base import Store
from vxnet.names.directory import Named
from vxnet.names.lookup import ServiceNames
from vxnet.names.rows import Serving
from vxnet.nameservice import NameService
from vxnet.networks import Networks, check_name
from vxnet.switch.flows import Tally
from vxnet.switch.maglev import table
from vxnet.tending import keep_tending
from vxnet.wire.addr import Ip, Mac, Vni
from vxnet.wire.ip import Protocol

__all__ = ["ServiceRequest", "Services", "service_mac"]

TABLE: Final = "service"
OWN, OTHERS = b"O", b"-"
TEND_EVERY_S: Final = 1.0
HOLD_EVERY_MS: Final = 5_000
ADOPT_AFTER_MS: Final = (2_000, 10_000)
PROTOCOLS: Final = {"tcp": int(Protocol.TCP), "udp": int(Protocol.UDP)}


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """What somebody wants a service to be. `vip` is `auto`, `none` or addresses."""

    name: str
    network: str
    vip: str | tuple[IpAddress, ...] = "auto"
    ports: tuple[PortRow, ...] = ()
    health: str = "none"
    prefer_local: bool = False
    publish: tuple[tuple[int, int, str], ...] = ()
    """Ports of the hosts, those of the service they lead to (0: the only one), and protocols."""
    publish_mode: str = "ingress"
    proxy_protocol: bool = False


def service_mac(row: ServiceRow, vip: Ip) -> Mac:
    """The MAC of a service's address: the same on every host."""
    return derive_mac(row.network_id, EndpointId(f"service/{row.name}/{len(vip)}"))


class Services:
    """The services of the cluster, as people and programs ask for them."""

    def __init__(
        self,
        control: ControlPlane,
        store: Store,
        networks: Networks,
        addresses: Addresses,
        names: NameService,
        forwarding: Forwarding,
        *,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        """Subscribes to the control plane; make it before that is started."""
        self.catalogue = ServiceCatalogue()
        self.watchers: list[Callable[[], None]] = []
        """Told after any change of services."""
        self.bad_rows = 0
        self._control = control
        self._store = store
        self._networks = networks
        self._addresses = addresses
        self._names = names
        self._forwarding = forwarding
        self._now_ms = now_ms
        self._random = random
        self._verb = asyncio.Lock()
        self._news: set[str] = set()
        self._stale = True
        self._awake = asyncio.Event()
        self._adopt_at_ms: dict[str, int] = {}
        self._hold_at_ms = 0
        self._programmed: dict[Vni, tuple[Service, ...]] = {}
        self._slots: dict[tuple[bytes, ...], bytes] = {}
        self._by_name: dict[tuple[NetworkId, str], ServiceNames] = {}
        control.subscribe(self._on_control)
        names.watchers.append(self.renew)

    def __iter__(self) -> Iterator[ServiceRow]:
        """All services, in the order of their names."""
        return iter(self.catalogue)

    def get(self, name: str) -> ServiceRow:
        """The service of this name. Raises StateError."""
        row = self.catalogue.get(name)
        if row is None:
            raise StateError(f"there is no service {name}; see: vxnet service ls")
        return row

    def users(self, network: Network) -> list[str]:
        """The services of a network, which keep it from being removed."""
        return [f"service {row.name}" for row in self if row.network_id == network.id]

    def find(self, network: NetworkId, name: str) -> ServiceNames | None:
        """A service by its name, or by its address as text, as far as names go."""
        return self._by_name.get((network, name))

    def members(self, row: ServiceRow) -> list[Named]:
        """Its members on all hosts that are up."""
        return self._names.directory.members(row.network_id, row.name)

    def flows(self, row: ServiceRow) -> dict[Mac, Tally]:
        """The flows of this host's clients, by member."""
        network = self._networks.by_id(row.network_id)
        if network is None or network.vni is None:
            return {}
        return self._forwarding.flows(network.vni, row.addresses)

    async def load(self) -> None:
        """Take up what was known before a restart. Raises HostError where it is damaged."""
        for name, value in await self._store.rows(TABLE):
            try:
                self.catalogue.load(value[1:], own=value[:1] == OWN)
            except WireError as error:
                raise HostError(f"what was saved of service {name} is damaged: {error}") from None
            if self.catalogue.owns(name):
                await self._hold(name)
                self._publish(name)
        self._index()

    async def create(self, request: ServiceRequest) -> ServiceRow:
        """Make a service, known on every host. Raises StateError for what does not fit."""
        async with self._verb:
            if self.catalogue.get(request.name) is not None:
                raise StateError(f"there is already a service {request.name}")
            row = self._plan(request)
            network = self._networks.get(request.network)
            vips: tuple[bytes, ...] = ()
            if request.vip != "none":
                wanted = () if isinstance(request.vip, str) else request.vip
                holder = f"service {request.name}"
                got = await self._addresses.allocate(network, wanted, holder)
                vips = tuple(address.ip.packed for address in got)
            made = self.catalogue.create(msgspec.structs.replace(row, vips=vips))
            await self._save(made.name)
            self._publish(made.name)
            self._index()
            return made

    async def remove(self, name: str) -> ServiceRow:
        """Remove a service, on every host."""
        async with self._verb:
            row = self.get(name)
            self.catalogue.remove(name, self._now_ms())
            await self._save(name)
            self._publish(name)
            await self._let_go(row)
            self._index()
            return row

    def renew(self) -> None:
        """Members changed: the datapath is to follow."""
        self._stale = True
        self._awake.set()
        self._program()

    def arrived(self) -> None:
        """A network came to this host: its services are to be programmed anew."""
        self._programmed.clear()
        self.renew()

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Follow until cancelled; failures are reported."""
        await keep_tending(self._awake, TEND_EVERY_S, self.tend, report)

    async def tend(self) -> None:
        """Do what is due now."""
        async with self._verb:
            while self._news:
                await self._follow(self._news.pop())
            orphans = set(self.catalogue.orphans())
            now_ms = self._now_ms()
            self._adopt_at_ms = {n: at for n, at in self._adopt_at_ms.items() if n in orphans}
            for name in orphans:
                due = self._adopt_at_ms.setdefault(
                    name, now_ms + self._random.randint(*ADOPT_AFTER_MS)
                )
                if now_ms >= due:
                    self.catalogue.adopt(name)
                    await self._save(name)
                    self._publish(name)
            for name in set(self.catalogue.superseded()) - orphans:
                self.catalogue.stand_down(name)
                await self._save(name)
                self._control.retract(RecordKind.SERVICE, name.encode())
            for name in self.catalogue.expired(now_ms):
                self.catalogue.forget(name)
                await self._store.delete(TABLE, name)
                self._control.retract(RecordKind.SERVICE, name.encode())
            if now_ms >= self._hold_at_ms:
                self._hold_at_ms = now_ms + HOLD_EVERY_MS
                await self._hold_adopted()
        if self._stale:
            self._stale = False
            await self._make_slots()
            self._program()

    # Records

    async def _follow(self, name: str) -> None:
        await self._save(name)
        self._index()

    async def _save(self, name: str) -> None:
        winner = self.catalogue.winner(name)
        if winner is not None:
            mark = OWN if self.catalogue.owns(name) else OTHERS
            await self._store.put(TABLE, name, mark + write_service(winner))

    def _publish(self, name: str) -> None:
        winner = self.catalogue.winner(name)
        if winner is not None:
            self._control.publish(RecordKind.SERVICE, name.encode(), write_service(winner))

    async def _hold(self, name: str) -> None:
        """After a restart its addresses are still those of a service that this host made."""
        row = self.catalogue.get(name)
        network = None if row is None else self._networks.by_id(row.network_id)
        if row is not None and network is not None and row.creator == self._control.members()[0].id:
            addresses = tuple(ipaddress.ip_address(vip) for vip in row.vips)
            with contextlib.suppress(StateError):  # held already
                await self._addresses.allocate(network, addresses, f"service {name}")

    async def _hold_adopted(self) -> None:
        """Hold for a service what a host held that is gone, as soon as that was reclaimed."""
        wanted = [row for row in self if row.vips and self.catalogue.owns(row.name)]
        if not wanted:
            return
        held = {
            (lease.network, lease.address)
            for lease in self._addresses.leases()
            if self._addresses.is_own(lease) and not lease.in_grace
        }
        for row in wanted:
            network = self._networks.by_id(row.network_id)
            prefixes = () if network is None else (subnet.prefix for subnet in network.subnets)
            for prefix in prefixes:
                for ip in map(ipaddress.ip_address, row.vips):
                    if ip in prefix and (row.network_id, ip) not in held and network is not None:
                        with contextlib.suppress(StateError):  # not yet, or its maker is back
                            await self._addresses.lease(
                                network, prefix, f"service {row.name}", wanted=ip
                            )

    async def _let_go(self, row: ServiceRow) -> None:
        network = self._networks.by_id(row.network_id)
        if network is None:
            return
        for vip in row.vips:
            ip = ipaddress.ip_address(vip)
            for subnet in network.subnets:
                if ip in subnet.prefix:
                    held = ipaddress.ip_interface(f"{ip}/{subnet.prefix.prefixlen}")
                    await self._addresses.release(network.id, (held,))

    def _on_control(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case RecordSet(record) if record.kind is RecordKind.SERVICE:
                    if record.owner == self._control.members()[0].id:
                        continue
                    try:
                        name = self.catalogue.hear(record.body, record.owner)
                    except WireError:
                        self.bad_rows += 1
                        continue
                    if name is not None:
                        self._news.add(name)
                        self._awake.set()
                case RecordGone(RecordKind.SERVICE, key, owner):
                    self.catalogue.unhear(key.decode(errors="replace"), owner)
                case _:
                    continue

    def _plan(self, request: ServiceRequest) -> ServiceRow:
        check_name("service", request.name)
        network = self._networks.get(request.network)
        if network.vni is None:
            raise StateError(
                f"network {network.name} is of the {network.driver} driver; services are for "
                "overlay networks"
            )
        if not request.ports and request.vip != "none":
            raise StateError(
                f"service {request.name} has no port; give it one, like --port 80:8080"
            )
        seen: set[tuple[int, str]] = set()
        for port in request.ports:
            if (port.port, port.protocol) in seen:
                raise StateError(f"port {port.port}/{port.protocol} is given twice")
            seen.add((port.port, port.protocol))
        ports = self._publish_ports(request)
        Health.parse(request.health)
        if request.publish_mode not in ("ingress", "host"):
            raise StateError(f"{request.publish_mode!r} is no publish mode; it is ingress or host")
        if request.proxy_protocol and not any(p.published and p.protocol == "tcp" for p in ports):
            raise StateError(
                "the PROXY protocol is for published ports of tcp, and there is none; "
                "publish one, like --publish 8080:80"
            )
        now_ms = self._now_ms()
        return ServiceRow(
            name=request.name,
            generation=0,
            removed=False,
            changed_ms=now_ms,
            network=bytes.fromhex(network.id),
            ports=ports,
            health=request.health,
            prefer_local=request.prefer_local,
            publish_mode=request.publish_mode,
            proxy_protocol=request.proxy_protocol,
            created_ms=now_ms,
            creator=self._control.members()[0].id,
        )

    def _publish_ports(self, request: ServiceRequest) -> tuple[PortRow, ...]:
        """The service's ports, with those of the hosts that lead to them."""
        taken = {(p.published, p.protocol): s.name for s in self for p in s.ports if p.published}
        ports = list(request.ports)
        for published, wanted, protocol in request.publish:
            if (other := taken.get((published, protocol))) is not None:
                raise StateError(f"port {published}/{protocol} is published by service {other}")
            fitting = [p for p in ports if p.protocol == protocol and wanted in (0, p.port)]
            if len(fitting) != 1:
                raise StateError(
                    f"service {request.name} has no port {wanted}/{protocol} to publish"
                    if not fitting and wanted
                    else f"say which port of the service {published}/{protocol} leads to, "
                    f"like --publish {published}:{ports[0].port if ports else 80}"
                )
            (port,) = fitting
            if port.published:
                raise StateError(f"port {port.port}/{protocol} of the service is published twice")
            taken[published, protocol] = request.name
            ports[ports.index(port)] = msgspec.structs.replace(port, published=published)
        return tuple(ports)

    # What follows from them

    def _index(self) -> None:
        self._by_name = {}
        for row in self:
            ports = tuple((p.port, p.protocol) for p in row.ports)
            found = ServiceNames(row.name, row.addresses, ports)
            for text in (row.name.lower(), *(str(ipaddress.ip_address(v)) for v in row.vips)):
                self._by_name[row.network_id, text] = found
        for watcher in self.watchers:
            watcher()
        self.renew()

    async def _make_slots(self) -> None:
        """Tables take a moment to make, so they are made beside the loop."""
        wanted = {self._hashed(row, len(vip)) for row in self for vip in row.vips}
        for members in wanted - self._slots.keys():
            slots = await asyncio.to_thread(table, members)
            self._slots[members] = array("H", slots).tobytes()
        for members in self._slots.keys() - wanted:
            del self._slots[members]

    def _hashed(self, row: ServiceRow, size: int) -> tuple[bytes, ...]:
        """Who shares a service's new flows: the ids of its healthy members, in order."""
        return tuple(
            member.id
            for member in self.members(row)
            if member.row.serving(row.name) is Serving.HEALTHY and member.row.addresses(size)
        )

    def _program(self) -> None:
        """Have the datapath balance as the rows say now; for members gone there is no waiting."""
        wanted: dict[Vni, list[Service]] = {}
        for row in self:
            network = self._networks.by_id(row.network_id)
            vni = None if network is None else network.vni
            if vni is not None and self._forwarding.has(vni):
                made = [self._service(row, vni, vip) for vip in row.addresses]
                wanted.setdefault(vni, []).extend(made)
        for vni in self._programmed.keys() | wanted.keys():
            services = tuple(wanted.get(vni, ()))
            if self._programmed.get(vni, ()) != services:
                self._programmed[vni] = services
                self._forwarding.set_services(SetServices(vni, services))

    def _service(self, row: ServiceRow, vni: Vni, vip: Ip) -> Service:
        hashed = self._hashed(row, len(vip))
        slots = self._slots.get(hashed)
        if slots is None:
            # Until the table is made: everybody in turn.
            slots = array("H", range(len(hashed))).tobytes()
        named = [member for member in self.members(row) if member.row.addresses(len(vip))]
        # Those that are hashed come first, as the slots count them.
        order = sorted(named, key=lambda member: member.id not in hashed)
        return Service(
            vni,
            service_mac(row, vip),
            vip,
            tuple(ServicePort(PROTOCOLS[p.protocol], p.port, p.target) for p in row.ports),
            tuple(
                Member(m.row.station, m.row.addresses(len(vip))[0], m.id in hashed) for m in order
            ),
            slots,
            row.prefer_local,
        )
