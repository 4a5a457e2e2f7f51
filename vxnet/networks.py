"""The verbs of networks: create, list, inspect, remove. Check, save, drive, undo on failure."""

import asyncio
import contextlib
import difflib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from vxnet.cnm.catalogue import Catalogue, Description, network_of
from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.ipam import choose_subnets, overlap
from vxnet.cnm.model import Network, NetworkId, Subnet
from vxnet.control.base import ControlPlane
from vxnet.errors import HostError, StateError, VxnetError, WireError
from vxnet.forwarding import Forwarding
from vxnet.gossip.events import Event, Record, RecordGone, RecordKind, RecordSet
from vxnet.host.base import HostNetwork, Store
from vxnet.wire.addr import VNI_MAX, Vni

__all__ = ["NetworkRequest", "Networks", "check_name"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MTU_MIN: Final = 576
ADOPT_AFTER_MS: Final = (2_000, 10_000)
TEND_EVERY_S: Final = 1.0
TABLE: Final = "network"
OWN: Final = b"O"
OTHERS: Final = b"-"


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


Users = Callable[[Network], Sequence[str]]
"""Names what on this host still uses a network."""

Watcher = Callable[[Network, Network], Awaitable[None]]
"""Told that a network's settings changed, with those before and those now."""


class Networks:
    """The networks of the cluster, as this host knows them."""

    def __init__(
        self,
        control: ControlPlane,
        forwarding: Forwarding,
        drivers: Mapping[str, NetworkDriver],
        host: HostNetwork,
        store: Store,
        *,
        mtu_max: int,
        now_ms: Callable[[], int],
        random: Random,
    ) -> None:
        self._control = control
        self._forwarding = forwarding
        self._drivers = drivers
        self._host = host
        self._store = store
        self._mtu_max = mtu_max
        self._now_ms = now_ms
        self._random = random
        self._catalogue = Catalogue()
        self.verb = asyncio.Lock()
        """Held by one verb at a time, of networks or of endpoints."""
        self._news: set[str] = set()
        self._awake = asyncio.Event()
        self._driven: dict[str, Description] = {}
        self._adopt_at_ms: dict[str, int] = {}
        self._users: list[Users] = []
        self._watchers: list[Watcher] = []
        self.bad_records = 0
        control.subscribe(self._on_control)

    def __iter__(self) -> Iterator[Network]:
        """All networks, in the order of their names."""
        return iter(self._catalogue)

    def get(self, name: str) -> Network:
        """The network of this name, or whose id starts so. Raises StateError."""
        if (found := self._catalogue.get(name)) is not None:
            return found
        if len(name) >= 6 and (by_id := [n for n in self if n.id.startswith(name)]):
            return by_id[0]
        close = difflib.get_close_matches(name, [network.name for network in self], n=1)
        hint = f"did you mean {close[0]}?" if close else "see: vxnet network ls"
        raise StateError(f"there is no network {name}; {hint}")

    def by_id(self, network: NetworkId) -> Network | None:
        """The network of this id, while there is one."""
        return next((n for n in self if n.id == network), None)

    def driver(self, network: Network) -> NetworkDriver:
        """What makes this network real. Raises StateError where this host has no such driver."""
        driver = self._drivers.get(network.driver)
        if driver is None:
            known = ", ".join(sorted(self._drivers))
            raise StateError(f"there is no driver {network.driver}; this host has {known}")
        return driver

    def add_users(self, users: Users) -> None:
        """Have this asked before a network is removed."""
        self._users.append(users)

    def watch(self, watcher: Watcher) -> None:
        """Have changes of a network's settings told."""
        self._watchers.append(watcher)

    async def load(self) -> None:
        """Take up what was known before a restart. Raises HostError where it is damaged."""
        for name, value in await self._store.rows(TABLE):
            try:
                self._catalogue.load(value[1:], own=value[:1] == OWN)
            except WireError as error:
                raise HostError(f"what was saved of network {name} is damaged: {error}") from None
            if (network := self._catalogue.get(name)) is not None:
                self._note(name)
                await self._introduce(network)
            if self._catalogue.owns(name):
                self._publish(name)

    async def create(self, request: NetworkRequest) -> Network:
        """Make a network, on every host. Raises StateError for what does not fit."""
        async with self.verb:
            plan = await self._plan(request)
            driver = self.driver(plan)
            driver.check(plan)
            before = self._catalogue.winner(plan.name)
            network = self._catalogue.create(plan, now_ms=self._now_ms())
            try:
                await self._save(network.name)
                await driver.create_network(network)
                self._publish(network.name)
            except BaseException:
                self._catalogue.undo(network.name, before)
                await self._save(network.name)
                raise
            self._note(network.name)
            return network

    async def ensure(self, request: NetworkRequest) -> Network:
        """The network of this name, made if there is none yet."""
        known = self._catalogue.get(request.name)
        return await self.create(request) if known is None else known

    async def remove(self, name: str) -> None:
        """Remove a network, on every host. Raises StateError while anybody uses it."""
        async with self.verb:
            network = self.get(name)
            self._check_unused(network)
            before = self._catalogue.winner(network.name)
            self._catalogue.remove(network.name, now_ms=self._now_ms())
            try:
                await self._save(network.name)
                await self.driver(network).delete_network(network)
                self._publish(network.name)
            except BaseException:
                self._catalogue.undo(network.name, before)
                await self._save(network.name)
                raise
            self._note(network.name)

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Follow what other hosts say of networks, until cancelled; failures are reported."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), TEND_EVERY_S)
            self._awake.clear()
            try:
                await self.tend()
            except VxnetError as error:
                report(error)

    async def tend(self) -> None:
        """Bring this host's part of the catalogue in line with what was heard."""
        async with self.verb:
            while self._news:
                await self._follow(self._news.pop())
            for name in self._catalogue.vni_losers():
                if self._catalogue.owns(name):
                    free = self._catalogue.free_vni(name)
                    self._catalogue.revise(name, free, now_ms=self._now_ms())
                    await self._follow(name)
                    self._publish(name)
            orphans = set(self._catalogue.orphans())
            await self._adopt(orphans)
            for name in set(self._catalogue.superseded()) - orphans:
                self._catalogue.stand_down(name)
                await self._save(name)
                self._control.retract(RecordKind.NETWORK, name.encode())
            for name in self._catalogue.expired(self._now_ms()):
                self._catalogue.forget(name)
                await self._store.delete(TABLE, name)
                self._control.retract(RecordKind.NETWORK, name.encode())

    async def _follow(self, name: str) -> None:
        """Make a changed winner real here, or refuse a removal that would cut off endpoints."""
        driven = self._driven.get(name)
        before = None if driven is None else network_of(driven)
        now = self._catalogue.get(name)
        if now is None and driven is not None and self._used_by(network_of(driven)):
            now = self._catalogue.revive(driven, now_ms=self._now_ms())
            self._publish(name)
        await self._save(name)
        self._note(name)
        if now is None and before is not None:
            if before.driver in self._drivers:
                await self.driver(before).delete_network(before)
        elif now is not None and before is None:
            await self._introduce(now)
        elif now is not None and before is not None and now != before:
            for watcher in self._watchers:
                await watcher(before, now)

    def _note(self, name: str) -> None:
        """What the drivers know of a name from now on."""
        winner = self._catalogue.winner(name)
        if winner is None or winner.removed:
            self._driven.pop(name, None)
        else:
            self._driven[name] = winner

    async def _introduce(self, network: Network) -> None:
        """Tell the driver of a network that another host made, where this host has that driver."""
        if network.driver in self._drivers:
            await self.driver(network).create_network(network)

    async def _adopt(self, orphans: set[str]) -> None:
        """Answer for what nobody answers for: at once where it is in use, else after a while.

        The wait differs from host to host, so that mostly one host does it.
        """
        now_ms = self._now_ms()
        self._adopt_at_ms = {n: at for n, at in self._adopt_at_ms.items() if n in orphans}
        for name in orphans:
            network = self._catalogue.get(name)
            wait_ms = self._random.randint(*ADOPT_AFTER_MS)
            due_ms = self._adopt_at_ms.setdefault(name, now_ms + wait_ms)
            if now_ms >= due_ms or (network is not None and self._used_by(network)):
                self._catalogue.adopt(name)
                await self._save(name)
                self._publish(name)

    async def _plan(self, request: NetworkRequest) -> Network:
        """The network that was asked for, complete. Raises StateError for what does not fit."""
        check_name("network", request.name)
        if self._catalogue.get(request.name) is not None:
            raise StateError(f"there is already a network {request.name}")
        mtu = self._mtu_max if request.mtu is None else request.mtu
        if not MTU_MIN <= mtu <= self._mtu_max:
            raise StateError(
                f"an MTU of {mtu} does not fit: the underlay leaves {self._mtu_max} for inner "
                f"packets, and {MTU_MIN} is the least"
            )
        prefixes = [subnet.prefix for subnet in request.subnets]
        for position, prefix in enumerate(prefixes):
            for other in prefixes[:position]:
                if overlap(prefix, other):
                    raise StateError(f"the subnets {other} and {prefix} overlap")
        subnets = request.subnets
        if not subnets:
            known = [prefix for _, prefix in self._catalogue.prefixes()]
            subnets = choose_subnets(request.name, [*known, *await self._host.prefixes()])
        return Network(
            id=NetworkId(""),  # the catalogue gives it
            name=request.name,
            driver=request.driver,
            mtu=mtu,
            vni=self._choose_vni(request),
            subnets=subnets,
            options=request.options,
        )

    def _choose_vni(self, request: NetworkRequest) -> Vni:
        if request.vni is None:
            return self._catalogue.free_vni(request.name)
        if not 0 <= request.vni <= VNI_MAX:
            raise StateError(f"VNI {request.vni} is out of range; it is 0 to {VNI_MAX}")
        vni = Vni(request.vni)
        if (holder := self._catalogue.holder_of(vni)) is not None:
            raise StateError(f"VNI {vni} belongs to network {holder}; choose another or none")
        return vni

    def _check_unused(self, network: Network) -> None:
        if users := self._used_by(network):
            raise StateError(
                f"network {network.name} is used by {', '.join(users)} of this host; detach first"
            )
        elsewhere = {} if network.vni is None else self._forwarding.peers(network.vni)
        if elsewhere:
            names = {member.id: member.name for member in self._control.members()}
            hosts = sorted(names.get(owner, str(vtep)) for owner, vtep in elsewhere.items())
            raise StateError(
                f"network {network.name} is used by endpoints of {', '.join(hosts)}; "
                "detach them there first"
            )

    def _used_by(self, network: Network) -> list[str]:
        return [user for users in self._users for user in users(network)]

    def _publish(self, name: str) -> None:
        self._control.publish(RecordKind.NETWORK, name.encode(), self._catalogue.body(name))

    async def _save(self, name: str) -> None:
        if self._catalogue.winner(name) is None:
            await self._store.delete(TABLE, name)
        else:
            mark = OWN if self._catalogue.owns(name) else OTHERS
            await self._store.put(TABLE, name, mark + self._catalogue.body(name))

    def _on_control(self, events: Sequence[Event]) -> None:
        own = None
        for event in events:
            match event:
                case RecordSet(record) if record.kind is RecordKind.NETWORK:
                    own = own or self._control.members()[0].id
                    if record.owner != own:
                        self._hear(record)
                case RecordGone(RecordKind.NETWORK, key, owner):
                    self._catalogue.unhear(key.decode(errors="replace"), owner)
                case _:
                    continue

    def _hear(self, record: Record) -> None:
        try:
            name = self._catalogue.hear(record.body, record.owner)
        except WireError:
            self.bad_records += 1
            return
        if name is not None:
            self._news.add(name)
            self._awake.set()
