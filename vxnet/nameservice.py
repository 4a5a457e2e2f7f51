"""Tells every host what this one's endpoints are called, and keeps the directory of all names."""

from collections.abc import Callable, Sequence

from vxnet.cnm.model import Endpoint, EndpointState
from vxnet.control.base import ControlPlane
from vxnet.errors import StateError, WireError
from vxnet.gossip.events import (
    Event,
    MemberChanged,
    MemberState,
    RecordGone,
    RecordKind,
    RecordSet,
)
from vxnet.names.directory import Directory
from vxnet.names.rows import Membership, NameRow, Serving, write_row
from vxnet.registry import Registry

__all__ = ["NameService"]

_UP = (MemberState.ALIVE, MemberState.SUSPECT)


class NameService:
    """Joins the directory to the gossip and to this host's endpoints."""

    def __init__(self, control: ControlPlane, registry: Registry) -> None:
        """Subscribes to both; make it before either is started, so that nothing is missed."""
        self.directory = Directory()
        self.serving: Callable[[Endpoint, str], Serving] = lambda _endpoint, _service: (
            Serving.HEALTHY
        )
        """How an endpoint of this host serves, as its health was last seen."""
        self.ways_out: Callable[[Endpoint], tuple[int, ...]] = lambda _endpoint: ()
        """In which versions of IP an endpoint of this host answers addresses outside."""
        self.watchers: list[Callable[[], None]] = []
        """Told after any change of names."""
        self.bad_rows = 0
        self.refused_rows = 0
        self._control = control
        self._registry = registry
        self._told: dict[bytes, bytes] = {}
        control.subscribe(self._on_control)
        registry.watchers.append(self.tell)

    def tell(self) -> None:
        """Tell what of this host's endpoints the others do not know yet."""
        wanted: dict[bytes, bytes] = {}
        for endpoint in self._registry:
            if endpoint.state is EndpointState.JOINED and endpoint.id not in self._registry.absent:
                try:
                    wanted[bytes.fromhex(endpoint.id)] = write_row(self._row(endpoint))
                except StateError:
                    self.refused_rows += 1
        for key in self._told.keys() - wanted.keys():
            del self._told[key]
            self._control.retract(RecordKind.NAME, key)
        for key, body in wanted.items():
            if self._told.get(key) == body:
                continue
            try:
                self._control.publish(RecordKind.NAME, key, body)
            except StateError:
                self.refused_rows += 1  # a bound of the control plane; tried again with the next
            else:
                self._told[key] = body

    def follow_members(self) -> None:
        """Names are those of the hosts that are up."""
        up = (
            member.id for member in self._control.members() if member.local or member.state in _UP
        )
        self.directory.set_live(frozenset(up))

    def _row(self, endpoint: Endpoint) -> NameRow:
        return NameRow(
            network=bytes.fromhex(endpoint.network),
            name=endpoint.name,
            mac=endpoint.mac,
            ips=endpoint.ips,
            aliases=endpoint.aliases,
            memberships=tuple(
                Membership(service, self.serving(endpoint, service))
                for service in endpoint.services
            ),
            ways_out=self.ways_out(endpoint),
        )

    def _on_control(self, events: Sequence[Event]) -> None:
        before = self.directory.version
        for event in events:
            match event:
                case RecordSet(record) if record.kind is RecordKind.NAME:
                    try:
                        self.directory.hear(record.owner, record.key, record.body)
                    except WireError:
                        self.bad_rows += 1
                    if not self.directory.is_live(record.owner):
                        self.follow_members()
                case RecordGone(RecordKind.NAME, key, owner):
                    self.directory.unhear(owner, key)
                case MemberChanged():
                    self.follow_members()
                case _:
                    continue
        if self.directory.version != before:
            for watcher in self.watchers:
                watcher()
