"""The catalogue of networks that all hosts agree on, without a leader.

Each host publishes records for the networks it answers for; several may publish one name. Of all
records of a name the highest `rank` wins, everywhere alike, so concurrent creations and removals
resolve the same way on every host. A removal is a record too: it outranks what it removes, and only
a later generation outranks it. Hosts remember the winners, and one that finds a winner without a
publisher publishes it itself (`orphans`, `adopt`), so a network survives the host that made it.
"""

import hashlib
import ipaddress
from collections.abc import Iterator
from typing import Final

import msgspec

from vxnet.cnm.model import Network, NetworkId, Subnet
from vxnet.errors import UNREADABLE, StateError, WireError
from vxnet.wire.addr import PROBE_VNI, VNI_MAX, Vni

__all__ = ["BODY_BYTES_MAX", "Catalogue", "Description", "describe", "network_of", "read", "write"]

BODY_BYTES_MAX: Final = 900
AUTOMATIC_VNI_MIN: Final = 4096  # below are those that people choose
TOMBSTONE_LIFE_MS: Final = 30 * 24 * 3600 * 1000
NAMES_MAX: Final = 8_192


class Description(msgspec.Struct, frozen=True, array_like=True):
    """A network as it travels. Fields are only ever appended."""

    name: str
    generation: int
    """Raised by one at each creation after a removal."""
    removed: bool
    revision: int
    """Raised by one at each change of settings within a generation."""
    changed_ms: int
    created_ms: int = 0
    driver: str = ""
    vni: int = -1
    mtu: int = 0
    subnets: tuple[tuple[str, str], ...] = ()
    """Prefix and gateway; "" where there is none."""
    options: dict[str, str] = {}
    born: int = 0
    """The generation it was created in; a removal that was overruled leaves it as it was."""
    creator: int = 0

    @property
    def rank(self) -> tuple[int, bool, int, int, bytes]:
        """The highest wins; of two concurrent creations that is the earlier one."""
        return (
            self.generation,
            self.removed,
            self.revision,
            -self.created_ms,
            msgspec.msgpack.encode(self),
        )

    @property
    def id(self) -> NetworkId:
        """The same for concurrent creations of one name, another after a removal."""
        text = f"{self.name}\0{self.born}".encode()
        return NetworkId(hashlib.blake2s(text, digest_size=16).hexdigest())


def describe(network: Network, *, generation: int, now_ms: int) -> Description:
    """A new network as it travels. Raises StateError where it does not fit a packet."""
    description = Description(
        name=network.name,
        generation=generation,
        removed=False,
        revision=0,
        changed_ms=now_ms,
        created_ms=now_ms,
        driver=network.driver,
        vni=-1 if network.vni is None else network.vni,
        mtu=network.mtu,
        subnets=tuple(
            (str(s.prefix), "" if s.gateway is None else str(s.gateway)) for s in network.subnets
        ),
        options=network.options,
        born=generation,
        creator=network.creator,
    )
    size = len(msgspec.msgpack.encode(description))
    if size > BODY_BYTES_MAX:
        raise StateError(
            f"network {network.name} takes {size} octets to describe, at most {BODY_BYTES_MAX} "
            "travel between hosts; give it fewer or shorter options"
        )
    return description


def network_of(description: Description) -> Network:
    """What a live description describes. Raises WireError where it describes nothing sound."""
    try:
        return Network(
            id=description.id,
            name=description.name,
            driver=description.driver,
            mtu=description.mtu,
            vni=Vni(description.vni) if description.vni >= 0 else None,
            subnets=tuple(_subnet(prefix, gateway) for prefix, gateway in description.subnets),
            options=description.options,
            created_ms=description.created_ms,
            creator=description.creator,
        )
    except ValueError as error:
        raise WireError(f"the description of network {description.name!r}: {error}") from None


class Catalogue:
    """What this host knows of the networks of the cluster, and which of it it answers for."""

    def __init__(self) -> None:
        self._winners: dict[str, Description] = {}
        self._heard: dict[str, dict[int, Description]] = {}
        self._own: dict[str, Description] = {}

    def __iter__(self) -> Iterator[Network]:
        """The networks there are, in the order of their names."""
        for name in sorted(self._winners):
            if not self._winners[name].removed:
                yield network_of(self._winners[name])

    def get(self, name: str) -> Network | None:
        """The network of this name, if there is one."""
        winner = self._winners.get(name)
        return None if winner is None or winner.removed else network_of(winner)

    def winner(self, name: str) -> Description | None:
        """What is known of a name, a removal included."""
        return self._winners.get(name)

    def owns(self, name: str) -> bool:
        """Whether this host publishes the name's record."""
        return name in self._own

    def load(self, body: bytes, *, own: bool) -> None:
        """Remember what was saved before a restart. Raises WireError where it is damaged."""
        description = read(body)
        self._elect(description)
        if own:
            self._own[description.name] = description

    def hear(self, body: bytes, owner: int) -> str | None:
        """Another host published this. Returns the name if its winner is another one now.

        Raises WireError for what no vxnet would publish.
        """
        description = read(body)
        name = description.name
        if name not in self._winners and len(self._winners) >= NAMES_MAX:
            raise WireError(f"network {name!r} is one more than {NAMES_MAX}")
        self._heard.setdefault(name, {})[owner] = description
        return name if self._elect(description) else None

    def unhear(self, name: str, owner: int) -> None:
        """Another host took its record back, or is gone; what it said remains known."""
        heard = self._heard.get(name, {})
        heard.pop(owner, None)
        if not heard:
            self._heard.pop(name, None)

    def create(self, network: Network, *, now_ms: int) -> Network:
        """Add a network of this host. Raises StateError where the name is taken."""
        known = self._winners.get(network.name)
        if known is not None and not known.removed:
            raise StateError(f"there is already a network {network.name}")
        generation = 1 if known is None else known.generation + 1
        description = describe(network, generation=generation, now_ms=now_ms)
        self._publish(description)
        return network_of(description)

    def remove(self, name: str, *, now_ms: int) -> None:
        """Remove a network, on every host. Raises StateError where there is none."""
        known = self._winners.get(name)
        if known is None or known.removed:
            raise StateError(f"there is no network {name}")
        self._publish(
            Description(
                name=name,
                generation=known.generation,
                removed=True,
                revision=known.revision,
                changed_ms=now_ms,
            )
        )

    def undo(self, name: str, before: Description | None) -> None:
        """Take back this host's last change of a name, unless another host's outranks both."""
        self._own.pop(name, None)
        self._winners.pop(name, None)
        for description in (before, *self._heard.get(name, {}).values()):
            if description is not None:
                self._elect(description)

    def revive(self, description: Description, *, now_ms: int) -> Network:
        """Overrule the removal of a network that this host uses: it is as it was, id and all."""
        generation = self._winners[description.name].generation + 1
        self._publish(
            msgspec.structs.replace(description, generation=generation, changed_ms=now_ms)
        )
        return network_of(self._winners[description.name])

    def revise(self, name: str, vni: Vni, *, now_ms: int) -> None:
        """Give a network another VNI, on every host."""
        known = self._winners[name]
        self._publish(
            msgspec.structs.replace(known, vni=vni, revision=known.revision + 1, changed_ms=now_ms)
        )

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

    def publications(self) -> dict[str, bytes]:
        """What this host should be publishing, by name."""
        return {name: write(own) for name, own in self._own.items()}

    def vni_losers(self) -> list[str]:
        """The networks that have to give up their VNI because an earlier network has it."""
        holders: dict[int, Description] = {}
        losers = []
        for winner in sorted(self._winners.values(), key=lambda d: (d.created_ms, d.name)):
            if winner.removed or winner.vni < 0:
                continue
            if holders.setdefault(winner.vni, winner) is not winner:
                losers.append(winner.name)
        return losers

    def free_vni(self, name: str) -> Vni:
        """A VNI for this name: the same on every host that knows the same networks."""
        taken = {w.vni for w in self._winners.values() if not w.removed}
        return Vni(next(vni for vni in _probe_vnis(name) if vni not in taken and vni != PROBE_VNI))

    def holder_of(self, vni: Vni) -> str | None:
        """The network that has this VNI."""
        return next(
            (w.name for w in self._winners.values() if not w.removed and w.vni == vni), None
        )

    def _publish(self, description: Description) -> None:
        self._own[description.name] = description
        self._elect(description)

    def _elect(self, description: Description) -> bool:
        known = self._winners.get(description.name)
        if known is not None and known.rank >= description.rank:
            return False
        self._winners[description.name] = description
        return True


def write(description: Description) -> bytes:
    """A description as it travels and as it is saved."""
    return msgspec.msgpack.encode(description)


def read(body: bytes) -> Description:
    """What `write` wrote. Raises WireError for what no vxnet would publish."""
    try:
        description = msgspec.msgpack.decode(body, type=Description)
    except UNREADABLE as error:
        raise WireError(f"a network's description cannot be read: {error}") from None
    if not 1 <= len(description.name.encode()) <= 64 or not description.name.isprintable():
        raise WireError(
            f"a network's name of {len(description.name)} characters; 1 to 64 are allowed"
        )
    if not description.removed:
        if not -1 <= description.vni < PROBE_VNI or not 0 < description.mtu <= 65_535:
            raise WireError(
                f"network {description.name!r} with VNI {description.vni}, MTU {description.mtu}"
            )
        network_of(description)
    return description


def _subnet(prefix: str, gateway: str) -> Subnet:
    return Subnet(ipaddress.ip_network(prefix), ipaddress.ip_address(gateway) if gateway else None)


def _probe_vnis(name: str) -> Iterator[int]:
    """Candidates in an order that depends on the name alone."""
    span = VNI_MAX + 1 - AUTOMATIC_VNI_MIN
    attempt = 0
    while True:
        digest = hashlib.blake2s(f"{name}\0{attempt}".encode(), digest_size=8).digest()
        yield AUTOMATIC_VNI_MIN + int.from_bytes(digest) % span
        attempt += 1
