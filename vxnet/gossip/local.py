"""What this host says of itself: its record, its networks, its stations, its share of the
catalogue."""

from msgspec.structs import replace

from vxnet.errors import StateError
from vxnet.gossip.compare import Comparison
from vxnet.gossip.elect import Election
from vxnet.gossip.events import EntryFlag, RecordKind
from vxnet.gossip.hub import Hub
from vxnet.gossip.replication import Replication
from vxnet.gossip.roster import Roster
from vxnet.gossip.security import Security
from vxnet.gossip.stream import vni_scope
from vxnet.gossip.table import ATTACH, ENTRY, NODE, Table
from vxnet.gossip.view import View
from vxnet.wire.addr import Ip, Mac, Vni, Vtep
from vxnet.wire.gossip import encode
from vxnet.wire.rows import AttachBody, EntryBody, Item, NodeBody, decode_row_body

__all__ = ["Local"]

IPS_MAX = 8
RECORD_KEY_MAX = 64
RECORD_BODY_MAX = 900
FIRST_PULL_MAX = 200
"""Streams asked for when a network is taken up; the rest is found by comparing."""


class Local:
    """Every change here takes the next version of one of this node's streams."""

    def __init__(
        self,
        roster: Roster,
        table: Table,
        view: View,
        replication: Replication,
        compare: Comparison,
        security: Security,
        hub: Hub,
    ) -> None:
        self._roster = roster
        self._table = table
        self._view = view
        self._replication = replication
        self._compare = compare
        self._security = security
        self._hub = hub

    @property
    def _election(self) -> Election:
        return self._view.election

    def describe(self, now: float) -> None:
        """This node's own record: what it runs, what it speaks, which keys it accepts."""
        identity = self._roster.identity
        ring = self._security.keyring
        body = NodeBody(
            identity.version,
            identity.datapath,
            identity.low,
            identity.high,
            identity.features,
            ring.ids if ring else (),
        )
        self._replication.publish(0, NODE, b"", encode(body), now)

    def attach(self, vni: Vni, now: float) -> None:
        """This host has the network now. Raises StateError where it has too many."""
        scope = vni_scope(vni)
        if self._table.wants(scope):
            return
        if len(self._table.scopes) > self._hub.settings.vnis_max:
            raise StateError(
                f"this host has {len(self._table.scopes) - 1} networks, the most there may be"
            )
        stream = self._table.want(scope)
        body = encode(AttachBody(stream.att))
        self._replication.publish(0, ATTACH, vni.to_bytes(3, "big"), body, now)
        self._view.refresh_scope(scope)
        owners = self._roster.by_vni.get(vni)
        if owners is None:
            return
        wanted = [Item(peer.id, peer.epoch, scope, peer.attached[vni], 0) for peer in owners]
        for peer in owners.draw(self._hub.random, 2):
            self._compare.pull(peer, wanted[:FIRST_PULL_MAX])

    def detach(self, vni: Vni, now: float) -> None:
        """This host no longer has the network; its own entries in it go with it."""
        scope = vni_scope(vni)
        if self._table.wants(scope):
            self._replication.publish(0, ATTACH, vni.to_bytes(3, "big"), None, now)
            self._table.unwant(scope)
            self._view.refresh_scope(scope)
            self._view.backlog.finish()  # taken up again, it begins with nothing

    def announce(
        self,
        vni: Vni,
        mac: Mac,
        ips: tuple[Ip, ...],
        flags: EntryFlag,
        now: float,
        *,
        moved: bool,
        vtep: Vtep | None,
        wall_ms: int,
    ) -> None:
        """This host has the station, or speaks for `vtep`, which has. Raises StateError."""
        if len(ips) > IPS_MAX:
            raise StateError(f"a station with {len(ips)} addresses; gossip carries {IPS_MAX}")
        scope = vni_scope(vni)
        self._table.own(scope)
        sequence = self._election.sequence(vni, mac, now, moved=moved)
        if sequence is None:
            return
        body = EntryBody(
            int(flags), sequence, ips, vtep.ip if vtep else None, vtep.port if vtep else 0, wall_ms
        )
        if not self._is_said(scope, mac, body):
            self._replication.publish(scope, ENTRY, mac, encode(body), now)

    def _is_said(self, scope: int, mac: Mac, body: EntryBody) -> bool:
        """Whether the station is announced just so, at whatever time."""
        row = self._table.own(scope).rows.get((ENTRY, mac))
        if row is None or row.body is None:
            return False
        said = decode_row_body(row.body, EntryBody)
        return replace(said, at_ms=body.at_ms) == body

    def withdraw(self, vni: Vni, mac: Mac, now: float) -> None:
        """This host no longer has the station."""
        scope = vni_scope(vni)
        if self._table.wants(scope):
            self._replication.publish(scope, ENTRY, mac, None, now)

    def publish(self, kind: RecordKind, key: bytes, body: bytes, now: float) -> None:
        """Put a record into the catalogue, or replace it. Raises StateError if it is too large."""
        if len(key) > RECORD_KEY_MAX or len(body) > RECORD_BODY_MAX:
            raise StateError(
                f"a record with a key of {len(key)} and a body of {len(body)} octets;"
                f" {RECORD_KEY_MAX} and {RECORD_BODY_MAX} fit a gossip packet"
            )
        self._replication.publish(0, kind, key, body, now)

    def retract(self, kind: RecordKind, key: bytes, now: float) -> None:
        """Take a record of this host out of the catalogue."""
        self._replication.publish(0, kind, key, None, now)
