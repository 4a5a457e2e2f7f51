"""The services that all hosts agree on, without a leader.

As with networks (`catalogue`): several hosts may publish a name, the record of the highest rank
wins everywhere alike, a removal is a record too, and whoever finds a winner without a publisher
publishes it, so that a service survives the host that made it.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from vxnet.cnm.model import NetworkId
from vxnet.errors import UNREADABLE, StateError, WireError
from vxnet.wire.addr import Ip

__all__ = ["Health", "PortRow", "ServiceCatalogue", "ServiceRow", "read_service", "write_service"]

BODY_BYTES_MAX: Final = 900
NAMES_MAX: Final = 4_096
PORTS_MAX: Final = 32
TOMBSTONE_LIFE_MS: Final = 30 * 24 * 3600 * 1000
PROTOCOLS: Final = ("tcp", "udp")


class PortRow(msgspec.Struct, frozen=True, array_like=True):
    """A port of the service, the member's port behind it, and the hosts' that leads to it, or 0."""

    port: int
    target: int
    protocol: str = "tcp"
    published: int = 0

    def __str__(self) -> str:
        return f"{self.port}:{self.target}/{self.protocol}"

    @property
    def publication(self) -> str:
        """The port of the hosts and that of the service it leads to."""
        return f"{self.published}:{self.port}/{self.protocol}"


class ServiceRow(msgspec.Struct, frozen=True, array_like=True):
    """A service as it travels. Fields are only ever appended."""

    name: str
    generation: int
    """Raised by one at each creation after a removal."""
    removed: bool
    changed_ms: int
    network: bytes = b""
    vips: tuple[bytes, ...] = ()
    ports: tuple[PortRow, ...] = ()
    health: str = "none"
    """`none`, `tcp`, or `http:/path`."""
    prefer_local: bool = False
    publish_mode: str = "ingress"
    proxy_protocol: bool = False
    created_ms: int = 0
    creator: int = 0

    @property
    def rank(self) -> tuple[int, bool, int, bytes]:
        """The highest wins; of two concurrent creations that is the earlier one."""
        return (self.generation, self.removed, -self.created_ms, msgspec.msgpack.encode(self))

    @property
    def network_id(self) -> NetworkId:
        """The network it is in."""
        return NetworkId(self.network.hex())

    @property
    def addresses(self) -> tuple[Ip, ...]:
        """Where it is reached."""
        return tuple(Ip(vip) for vip in self.vips)

    @property
    def is_published(self) -> bool:
        """Whether ports of the hosts lead to it."""
        return any(port.published for port in self.ports)


class Health(msgspec.Struct, frozen=True):
    """What is asked of a member; no path: whether its port opens."""

    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Health | None":
        """Read `none`, `tcp` or `http:/path`. Raises StateError."""
        if text == "none":
            return None
        if text == "tcp":
            return cls()
        kind, _, path = text.partition(":")
        if kind != "http" or not path.startswith("/") or not path.isprintable() or " " in path:
            raise StateError(f"{text!r} is no health check; write none, tcp or http:/path")
        return cls(path)


class ServiceCatalogue:
    """What this host knows of the services of the cluster, and which of it it answers for."""

    def __init__(self) -> None:
        self._winners: dict[str, ServiceRow] = {}
        self._heard: dict[str, dict[int, ServiceRow]] = {}
        self._own: dict[str, ServiceRow] = {}

    def __iter__(self) -> Iterator[ServiceRow]:
        """The services there are, in the order of their names."""
        return (self._winners[n] for n in sorted(self._winners) if not self._winners[n].removed)

    def get(self, name: str) -> ServiceRow | None:
        """The service of this name, if there is one."""
        winner = self._winners.get(name)
        return None if winner is None or winner.removed else winner

    def winner(self, name: str) -> ServiceRow | None:
        """What is known of a name, a removal included."""
        return self._winners.get(name)

    def owns(self, name: str) -> bool:
        """Whether this host publishes the name's record."""
        return name in self._own

    def load(self, body: bytes, *, own: bool) -> None:
        """Remember what was saved before a restart. Raises WireError where it is damaged."""
        row = read_service(body)
        self._elect(row)
        if own:
            self._own[row.name] = row

    def hear(self, body: bytes, owner: int) -> str | None:
        """Another host published this. Returns the name if its winner is another one now.

        Raises WireError for what no vxnet would publish.
        """
        row = read_service(body)
        if row.name not in self._winners and len(self._winners) >= NAMES_MAX:
            raise WireError(f"service {row.name!r} is one more than {NAMES_MAX}")
        self._heard.setdefault(row.name, {})[owner] = row
        return row.name if self._elect(row) else None

    def unhear(self, name: str, owner: int) -> None:
        """Another host took its record back, or is gone; what it said remains known."""
        heard = self._heard.get(name, {})
        heard.pop(owner, None)
        if not heard:
            self._heard.pop(name, None)

    def create(self, row: ServiceRow) -> ServiceRow:
        """Add a service of this host. Raises StateError where the name is taken or it is large."""
        known = self._winners.get(row.name)
        if known is not None and not known.removed:
            raise StateError(f"there is already a service {row.name}")
        generation = 1 if known is None else known.generation + 1
        made = msgspec.structs.replace(row, generation=generation)
        if len(write_service(made)) > BODY_BYTES_MAX or len(made.ports) > PORTS_MAX:
            raise StateError(f"service {row.name} has too much to travel; give it fewer ports")
        self._publish(made)
        return made

    def remove(self, name: str, now_ms: int) -> None:
        """Remove a service, on every host. Raises StateError where there is none."""
        known = self._winners.get(name)
        if known is None or known.removed:
            raise StateError(f"there is no service {name}; see: vxnet service ls")
        self._publish(ServiceRow(name, known.generation, removed=True, changed_ms=now_ms))

    def adopt(self, name: str) -> None:
        """Answer for what is known of a name from now on."""
        self._own[name] = self._winners[name]

    def orphans(self) -> list[str]:
        """The names whose winner nobody publishes."""
        return [
            name
            for name, winner in self._winners.items()
            if winner not in (self._own.get(name), *self._heard.get(name, {}).values())
        ]

    def superseded(self) -> list[str]:
        """The names that this host publishes, but whose winner another host publishes."""
        return [name for name, own in self._own.items() if own != self._winners[name]]

    def stand_down(self, name: str) -> None:
        """Stop answering for a name."""
        self._own.pop(name, None)

    def expired(self, now_ms: int) -> list[str]:
        """The removals that have been remembered for long enough."""
        return [
            name
            for name, winner in self._winners.items()
            if winner.removed and now_ms - winner.changed_ms > TOMBSTONE_LIFE_MS
        ]

    def forget(self, name: str) -> None:
        """Know nothing of a name any more."""
        self._winners.pop(name, None)
        self._own.pop(name, None)

    def _publish(self, row: ServiceRow) -> None:
        self._own[row.name] = row
        self._elect(row)

    def _elect(self, row: ServiceRow) -> bool:
        known = self._winners.get(row.name)
        if known is not None and known.rank >= row.rank:
            return False
        self._winners[row.name] = row
        return True


def write_service(row: ServiceRow) -> bytes:
    """A service as it travels and as it is saved."""
    return msgspec.msgpack.encode(row)


def read_service(body: bytes) -> ServiceRow:
    """What `write_service` wrote. Raises WireError for what no vxnet would publish."""
    try:
        row = msgspec.msgpack.decode(body, type=ServiceRow)
    except UNREADABLE as error:
        raise WireError(f"a service cannot be read: {error}") from None
    if not 1 <= len(row.name.encode()) <= 64 or not row.name.isprintable():
        raise WireError(f"a service's name of {len(row.name)} characters; 1 to 64 are allowed")
    if row.removed:
        return row
    sound = (
        len(row.network) == 16
        and len(row.vips) <= 2
        and all(len(vip) in (4, 16) for vip in row.vips)
        and len(row.ports) <= PORTS_MAX
        and all(
            1 <= p.port <= 65535
            and 1 <= p.target <= 65535
            and 0 <= p.published <= 65535
            and p.protocol in PROTOCOLS
            for p in row.ports
        )
        and row.publish_mode in ("ingress", "host")
    )
    if not sound:
        raise WireError(f"service {row.name!r} with addresses or ports that cannot be")
    try:
        Health.parse(row.health)
    except StateError as error:
        raise WireError(str(error)) from None
    return row
