"""The last step out: messages for one address share packets, and news rides along with probes."""

from collections.abc import Sequence

from vxnet.gossip.hub import Datagram, Hub, Transmit
from vxnet.gossip.member import Address
from vxnet.gossip.queue import Queue
from vxnet.gossip.roster import Roster
from vxnet.gossip.security import Security
from vxnet.wire.gossip import BODY_MAX, pack

__all__ = ["Outgoing"]

PROBING = frozenset((1, 2))  # the types of Ping and Ack
ROOM = BODY_MAX - 3  # without the array's own header


class Outgoing:
    """Packs what waits in the hub, and seals it under a key that its receiver has."""

    def __init__(self, roster: Roster, queue: Queue, hub: Hub, security: Security) -> None:
        self._roster = roster
        self._queue = queue
        self._hub = hub
        self._security = security
        self._turns = 0

    def take(self) -> list[Transmit]:
        """All that is to be sent, once."""
        hub = self._hub
        if hub.outbox:
            outbox, hub.outbox = hub.outbox, {}
            for address, messages in outbox.items():
                self._pack(address, messages)
        if not hub.transmits:
            return []
        out, hub.transmits = hub.transmits, []
        hub.counters["packets_out"] += len(out)
        return out

    def _pack(self, address: Address, messages: list[bytes]) -> None:
        size = sum(map(len, messages))
        if messages[0][1] in PROBING and size < ROOM and self._queue:
            messages.extend(self._queue.ride(address, ROOM - size))
            size = sum(map(len, messages))
        if size <= ROOM:
            self._seal(address, messages)
            return
        batch: list[bytes] = []
        room = ROOM
        for message in messages:
            if batch and len(message) > room:
                self._seal(address, batch)
                batch, room = [], ROOM
            batch.append(message)
            room -= len(message)
        self._seal(address, batch)

    def _seal(self, address: Address, messages: Sequence[bytes]) -> None:
        data = self._security.seal(pack(messages), self._key(address))
        self._hub.counters["bytes_out"] += len(data)
        self._hub.transmits.append(Datagram(address, data))

    def _key(self, address: Address) -> bytes | None:
        """One that the receiver is known to accept; for somebody unknown each of ours in turn."""
        ring = self._security.keyring
        if ring is None:
            return None
        peer = self._roster.at(address)
        if peer is not None and peer.info is not None:
            return self._security.best_key(peer.info.keys)
        self._turns += 1
        return ring.ids[self._turns % len(ring.ids)]
