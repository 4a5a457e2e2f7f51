"""The pools of this host: saved, told to the other hosts, and followed as those tell of theirs.

What a host owns is on disk before others hear of it, so a restart forgets nothing it gave away. So
are the addresses in grace: neighbours remember who had them, whatever becomes of this process.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from vxnet.cnm.claims import (
    AnswerRow,
    LeaseRow,
    RangeRow,
    RequestRow,
    key_of,
    network_of_key,
    read_row,
    write_row,
)
from vxnet.cnm.ipam import Pool, PoolId
from vxnet.cnm.model import IpAddress, IpNetwork, Network, NetworkId
from vxnet.cnm.ring import Segment
from vxnet.cnm.subnets import bounds, resolvers_of
from vxnet.control.base import ControlPlane
from vxnet.errors import HostError, VxnetError, WireError
from vxnet.gossip.events import Event, NodeId, Record, RecordGone, RecordKind, RecordSet
from vxnet.host.base import Store
from vxnet.tending import keep_tending

__all__ = ["Pools", "address_of", "number_of"]

TABLE: Final = "range"
TEND_EVERY_S: Final = 1.0

Part = tuple[bytes, bytes, bytes, int]
"""Start, end, owner and version of a saved segment; octets, since some are longer than 63 bits."""
Resting = tuple[bytes, str, int, int]
"""An address in grace, as its pool counts it; its last holder, since when, and until when."""


def number_of(prefix: IpNetwork, address: IpAddress) -> int:
    """An address as its pool counts it."""
    return int(address) - int(prefix.network_address)


def address_of(prefix: IpNetwork, number: int) -> IpAddress:
    """What a pool's number stands for."""
    return prefix.network_address + number


class Pools:
    """Every pool this host knows of, by network and subnet."""

    def __init__(
        self,
        control: ControlPlane,
        store: Store,
        find_network: Callable[[NetworkId], Network | None],
        now_ms: Callable[[], int],
    ) -> None:
        """Subscribes to the control plane; make it before that is started."""
        self._find_network = find_network
        self._control = control
        self._store = store
        self._now_ms = now_ms
        self._pools: dict[PoolId, Pool] = {}
        self._shared: set[NetworkId] = set()
        self._saved: dict[str, bytes] = {}
        self._told: dict[bytes, bytes] = {}
        self._refusals: dict[tuple[NodeId, int], str] = {}
        self._asked: list[tuple[NodeId, bytes, RequestRow]] = []
        self._dirty: set[PoolId] = set()
        self._awake = asyncio.Event()
        self._moved = asyncio.Event()
        self._own: NodeId | None = None
        self.bad_rows = 0
        control.subscribe(self._on_control)

    def __iter__(self) -> Iterator[tuple[PoolId, Pool]]:
        return iter(self._pools.items())

    @property
    def me(self) -> NodeId:
        """This host's id."""
        if self._own is None:
            self._own = self._control.members()[0].id
        return self._own

    def is_told(self, network: NetworkId) -> bool:
        """Whether the other hosts are told of a network's addresses; a local one's they are not."""
        return network in self._shared

    async def load(self) -> None:
        """Read what was saved. Pools come to life when their network is opened."""
        self._saved = dict(await self._store.rows(TABLE))

    def open(self, network: Network) -> list[tuple[IpNetwork, Pool]]:
        """The pools of a network, made from what was saved and heard where they are new."""
        if network.shared:
            self._shared.add(network.id)
        resolvers = {address.network: address.ip for address in resolvers_of(network)}
        return [
            (s.prefix, self._open(network, s.prefix, (s.gateway, resolvers.get(s.prefix))))
            for s in network.subnets
        ]

    async def begin(self, network: Network, members: Sequence[NodeId]) -> None:
        """This host just made the network: it owns the subnets, and hands parts to the members."""
        for prefix, pool in self.open(network):
            pool.begin(members)
            await self.settle((network.id, prefix))

    async def settle(self, pool_id: PoolId) -> None:
        """Save a pool, then tell what of it the others do not know yet."""
        self._dirty.discard(pool_id)
        pool = self._pools[pool_id]
        body = _encode(pool)
        key = _key(pool_id)
        if self._saved.get(key) != body:
            await self._store.put(TABLE, key, body)
            self._saved[key] = body
        if pool_id[0] in self._shared:
            self._tell(pool_id, pool)

    async def forget(self, network: NetworkId) -> None:
        """The network is gone, and its pools with it."""
        for pool_id in [pool_id for pool_id in self._pools if pool_id[0] == network]:
            self._retract([key for key in self._told if key[1:17].hex() == network])
            del self._pools[pool_id]
            self._dirty.discard(pool_id)
            self._saved.pop(_key(pool_id), None)
            await self._store.delete(TABLE, _key(pool_id))

    def tell(self, row: RequestRow | AnswerRow, network: NetworkId, about: bytes) -> bytes:
        """Tell every host a row; returns the key to take it back with."""
        key = key_of(row, network, about)
        self._control.publish(RecordKind.CLAIM, key, write_row(row))
        return key

    def untell(self, key: bytes) -> None:
        """Take a row back."""
        self._control.retract(RecordKind.CLAIM, key)

    def refusal(self, owner: NodeId, number: int) -> str | None:
        """Why a host refused a request of this one, if it did."""
        return self._refusals.pop((owner, number), None)

    async def wait(self, timeout_s: float) -> None:
        """Until another host said something of addresses, or the time is up."""
        self._moved.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Save and tell what changed, and answer requests, until cancelled."""
        await keep_tending(self._awake, TEND_EVERY_S, self.tend, report)

    async def tend(self) -> None:
        """Do what is due now."""
        while self._asked:
            await self._answer(*self._asked.pop(0))
        for pool_id in list(self._dirty):
            if pool_id in self._pools:
                await self.settle(pool_id)

    async def _answer(self, asker: NodeId, about: bytes, request: RequestRow) -> None:
        """Hand on what was asked for, or say why not."""
        network = NetworkId(about[:16].hex())
        try:
            pool_id = (network, ipaddress.ip_network(request.prefix))
        except ValueError:
            self.bad_rows += 1
            return
        self._open_by_id(network)
        pool = self._pools.get(pool_id)
        wanted = None if request.wanted < 0 else request.wanted
        reason = (
            "this host does not know the network"
            if pool is None
            else pool.share(asker, wanted, self._now_ms())
        )
        if reason is None:
            await self.settle(pool_id)
        else:
            self.tell(AnswerRow(request.number, reason), network, asker.to_bytes(8))

    def _open(
        self, network: Network, prefix: IpNetwork, reserved: Iterable[IpAddress | None]
    ) -> Pool:
        pool_id = (network.id, prefix)
        pool = self._pools.get(pool_id)
        if pool is not None and pool.creator == network.creator:
            return pool
        first, last = bounds(prefix)
        left_out = frozenset(number_of(prefix, a) for a in reserved if a is not None)
        pool = Pool(self.me, network.creator, first, last, left_out)
        _restore(pool, self._saved.get(_key(pool_id), b""), self._now_ms())
        self._pools[pool_id] = pool
        for record in self._control.records(RecordKind.CLAIM):
            if record.key[:1] == b"R" and record.key[1:17].hex() == network.id:
                self._hear(record)
        if network.creator == self.me and not list(pool.ring):
            pool.begin(())  # it ended between making the network and making this
        self._dirty.add(pool_id)
        self._awake.set()
        return pool

    def _open_by_id(self, network: NetworkId) -> None:
        """Have the pools of a network that is known by now."""
        if all(pool_id[0] != network for pool_id in self._pools):
            found = self._find_network(network)
            if found is not None:
                self.open(found)

    def _tell(self, pool_id: PoolId, pool: Pool) -> None:
        network, prefix = pool_id
        rows: dict[bytes, bytes] = {}
        for row in pool.rows():
            about = address_of(prefix, row.start).packed
            rows[key_of(row, network, about)] = write_row(row)
        for number, hold in pool.holds.items():
            lease = LeaseRow(hold.holder, hold.since_ms, hold.until_ms is not None)
            about = address_of(prefix, number).packed
            rows[key_of(lease, network, about)] = write_row(lease)
        mine = {
            key
            for key in self._told
            if key[1:17].hex() == network and ipaddress.ip_address(key[17:]) in prefix
        }
        for key, body in rows.items():
            if self._told.get(key) != body:
                self._control.publish(RecordKind.CLAIM, key, body)
                self._told[key] = body
        self._retract(mine - rows.keys())

    def _retract(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._told.pop(key, None)
            self.untell(key)

    def _on_control(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case RecordSet(record) if record.kind is RecordKind.CLAIM:
                    if record.owner != self.me:
                        self._hear(record)
                case RecordGone(RecordKind.CLAIM, key, owner):
                    self._unhear(key, owner)
                case _:
                    continue

    def _hear(self, record: Record) -> None:
        try:
            network, about = network_of_key(record.key)
            row = read_row(record.key, record.body)
        except WireError:
            self.bad_rows += 1
            return
        match row:
            case RangeRow():
                pool_id = self._pool_with(network, about)
                pool = None if pool_id is None else self._pools[pool_id]
                if pool_id is not None and pool is not None and pool.hear(row, record.owner):
                    self._dirty.add(pool_id)
            case RequestRow() if row.owner == self.me:
                self._asked.append((record.owner, record.key[1:], row))
            case AnswerRow() if about == self.me.to_bytes(8):
                self._refusals[record.owner, row.number] = row.reason
            case _:
                return
        self._awake.set()
        self._moved.set()

    def _unhear(self, key: bytes, owner: NodeId) -> None:
        try:
            network, about = network_of_key(key)
        except WireError:
            return
        pool_id = self._pool_with(network, about)
        if key[:1] == b"R" and pool_id is not None:
            start = int.from_bytes(about) - int(pool_id[1].network_address)
            self._pools[pool_id].unhear(owner, start)
            self._dirty.add(pool_id)
            self._awake.set()
        elif key[:1] == b"Q" and owner != self.me:
            self.untell(b"A" + key[1:17] + owner.to_bytes(8))

    def _pool_with(self, network: NetworkId, about: bytes) -> PoolId | None:
        """The pool that an address, as octets, is in."""
        self._open_by_id(network)
        try:
            address = ipaddress.ip_address(about)
        except ValueError:
            return None  # about a node, not an address
        return next((p for p in self._pools if p[0] == network and address in p[1]), None)


def _key(pool_id: PoolId) -> str:
    return f"{pool_id[0]} {pool_id[1]}"


def _encode(pool: Pool) -> bytes:
    parts = [
        (s.start.to_bytes(16), s.end.to_bytes(16), s.owner.to_bytes(8), s.version)
        for s in pool.ring
    ]
    resting = [
        (number.to_bytes(16), hold.holder, hold.since_ms, hold.until_ms)
        for number, hold in pool.holds.items()
        if hold.until_ms is not None
    ]
    return msgspec.msgpack.encode((pool.creator.to_bytes(8), parts, resting))


class _Saved(msgspec.Struct, array_like=True):
    """What was written by this version, or by one that did not save what is in grace."""

    creator: bytes
    parts: list[Part]
    resting: list[Resting] = []


def _restore(pool: Pool, body: bytes, now_ms: int) -> None:
    """Give a pool what was saved, where that is of the same map. Raises HostError for damage."""
    if not body:
        return
    try:
        saved = msgspec.msgpack.decode(body, type=_Saved)
    except msgspec.DecodeError as error:
        raise HostError(f"what was saved of a subnet's owners is damaged: {error}") from None
    if int.from_bytes(saved.creator) != pool.creator:
        return
    for start, end, owner, version in saved.parts:
        pool.ring.merge(
            Segment(int.from_bytes(start), int.from_bytes(end), int.from_bytes(owner), version)
        )
    for number, holder, since_ms, until_ms in saved.resting:
        pool.rest(int.from_bytes(number), holder, since_ms, until_ms, now_ms)
