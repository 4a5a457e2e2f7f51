"""The networks this host knows, the cluster's and its own: saved, and published."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from vxnet.cnm.catalogue import Catalogue, Description, describe, network_of, read, write
from vxnet.cnm.model import Network, NetworkId
from vxnet.control.base import ControlPlane
from vxnet.drivers.chooser import DriverChooser
from vxnet.errors import HostError, WireError
from vxnet.gossip.events import RecordKind
from vxnet.host.base import Store
from vxnet.turns import Turns

__all__ = ["NetworkTable", "Users", "Watcher"]

TABLE: Final = "network"
OWN, OTHERS, LOCAL = b"O", b"-", b"L"

Users = Callable[[Network], Sequence[str]]
"""Names what on this host still uses a network."""

Watcher = Callable[[Network, Network], Awaitable[None]]
"""Told that a network's settings changed, with those before and those now."""


class NetworkTable:
    """What is in it is on disk. A local network hides one of the cluster that has its name."""

    def __init__(self, control: ControlPlane, store: Store, drivers: DriverChooser) -> None:
        self.catalogue = Catalogue()
        self.drivers = drivers
        self.turns = Turns()
        """Of the verbs of networks and endpoints."""
        self.users: list[Users] = []
        self.watchers: list[Watcher] = []
        self.driven: dict[str, Description] = {}
        """What the drivers were last told of the cluster's networks."""
        self._control = control
        self._store = store
        self._local: dict[str, Network] = {}

    def __iter__(self) -> Iterator[Network]:
        """All networks, in the order of their names."""
        shared = (network for network in self.catalogue if network.name not in self._local)
        return iter(sorted(chain(shared, self._local.values()), key=lambda n: n.name))

    def find(self, name: str) -> Network | None:
        """The network of this name."""
        return self._local.get(name) or self.catalogue.get(name)

    def by_id(self, network: NetworkId) -> Network | None:
        """The network of this id, while there is one."""
        return next((n for n in self if n.id == network), None)

    def is_local(self, name: str) -> bool:
        """Whether it is this host's alone."""
        return name in self._local

    def used_by(self, network: Network) -> list[str]:
        """What on this host uses a network."""
        return [user for users in self.users for user in users(network)]

    async def load(self) -> None:
        """Read what was saved. Raises HostError where it is damaged."""
        for name, value in await self._store.rows(TABLE):
            try:
                if value[:1] == LOCAL:
                    self._local[name] = replace(network_of(read(value[1:])), shared=False)
                else:
                    self.catalogue.load(value[1:], own=value[:1] == OWN)
            except WireError as error:
                raise HostError(f"what was saved of network {name} is damaged: {error}") from None
            if self.catalogue.owns(name):
                self.publish(name)

    async def add_local(self, network: Network, now_ms: int) -> Network:
        """Keep a network of this host alone."""
        description = describe(network, generation=now_ms, now_ms=now_ms)
        await self._store.put(TABLE, network.name, LOCAL + write(description))
        self._local[network.name] = replace(network_of(description), shared=False)
        return self._local[network.name]

    async def remove_local(self, name: str) -> None:
        """Forget a network of this host alone."""
        await self._store.delete(TABLE, name)
        self._local.pop(name, None)
        if self.catalogue.winner(name) is not None:
            await self.save(name)

    async def save(self, name: str) -> None:
        """Keep what the catalogue says of a name."""
        if self.is_local(name):
            return
        winner = self.catalogue.winner(name)
        if winner is None:
            await self._store.delete(TABLE, name)
        else:
            mark = OWN if self.catalogue.owns(name) else OTHERS
            await self._store.put(TABLE, name, mark + write(winner))

    async def forget(self, name: str) -> None:
        """Know nothing of a name any more."""
        self.catalogue.forget(name)
        if not self.is_local(name):
            await self._store.delete(TABLE, name)
        self.retract(name)

    def publish(self, name: str) -> None:
        """Tell every host. Raises StateError where a bound is reached."""
        winner = self.catalogue.winner(name)
        if winner is not None:
            self._control.publish(RecordKind.NETWORK, name.encode(), write(winner))

    def retract(self, name: str) -> None:
        """Leave it to other hosts to tell."""
        self._control.retract(RecordKind.NETWORK, name.encode())

    def note(self, name: str) -> None:
        """The drivers know the catalogue's winner of a name now."""
        winner = self.catalogue.winner(name)
        if winner is None or winner.removed:
            self.driven.pop(name, None)
        else:
            self.driven[name] = winner
