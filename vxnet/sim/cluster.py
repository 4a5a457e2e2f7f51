"""A cluster in one process: hosts, the network between them, and questions about all of them."""

from collections.abc import Iterator
from random import Random

from vxnet.gossip.events import Entry, MemberState, NodeId
from vxnet.gossip.member import Address, Identity
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.settings import LAN, GossipSettings
from vxnet.sim.clock import Clock
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions, Network
from vxnet.wire.addr import Ip, Vtep

__all__ = ["Cluster"]

EPOCH = 1_700_000_000_000
GOSSIP_PORT = 7947
VXLAN_PORT = 4789


class Cluster:
    """`size` hosts named n0, n1, ...; the first `seeds` of them are everybody's seeds."""

    def __init__(
        self,
        size: int,
        seed: int,
        *,
        settings: GossipSettings = LAN,
        conditions: Conditions | None = None,
        seeds: int = 3,
        keys: tuple[bytes, ...] = (),
        rules: Rule = ALL_RULES,
        start_within_s: float = 0.5,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self.clock = Clock()
        self.network = Network(
            self.clock,
            Random(self.random.getrandbits(64)),  # noqa: S311
            conditions or Conditions(),
        )
        self.hosts = [
            Host(
                self.identity(at),
                settings,
                self.network,
                self.clock,
                Random(self.random.getrandbits(64)),  # noqa: S311
                keys=keys,
                rules=rules,
            )
            for at in range(size)
        ]
        addresses = [host.address for host in self.hosts[:seeds]]
        for host in self.hosts:
            when = self.random.random() * start_within_s
            self.clock.at(when, lambda host=host: host.start(addresses))  # type: ignore[misc]

    def identity(self, at: int) -> Identity:
        """Who the host at this place is."""
        ip = Ip((0x0A000000 + at + 1).to_bytes(4, "big"))
        return Identity(
            NodeId(self.random.getrandbits(63) + 1),
            EPOCH,
            f"n{at}",
            Vtep(ip, VXLAN_PORT),
            Address(ip, GOSSIP_PORT),
        )

    # ── running ─────────────────────────────────────────────────────────────────────────────

    @property
    def now(self) -> float:
        """The virtual time in seconds."""
        return self.clock.now

    def run(self, for_s: float) -> None:
        """Let time pass."""
        self.clock.run(self.clock.now + for_s)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[int(name[1:])]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts)

    @property
    def up(self) -> list[Host]:
        """The hosts that run."""
        return [host for host in self.hosts if host.up]

    # ── asking ──────────────────────────────────────────────────────────────────────────────

    def joined(self) -> bool:
        """Whether every running host holds every other alive."""
        up = {host.identity.id for host in self.up}
        return all(host.started for host in self.hosts) and all(
            {peer.id for peer in host.node.roster if peer.live and peer.state is MemberState.ALIVE}
            == up - {host.identity.id}
            for host in self.up
        )

    def until(self, condition: object, limit_s: float, step_s: float = 0.05) -> float | None:
        """Run until a condition holds; how long that took, None if it never did."""
        if not callable(condition):
            raise TypeError("a condition is a callable")
        start = self.now
        while self.now - start <= limit_s:
            if condition():
                return self.now - start
            self.run(step_s)
        return None

    def replicas_agree(self) -> bool:
        """P2: every replica of every running owner equals the owner's own."""
        for owner in self.up:
            own = owner.node.table
            for scope in own.scopes:
                truth = own.own(scope)
                rows = set(truth.live())
                for host in self.up:
                    if host is owner or not host.node.table.wants(scope):
                        continue
                    copy = host.node.table.get(owner.identity.id, scope)
                    if copy is None and not rows:
                        continue
                    if copy is None or set(copy.live()) != rows or copy.life != truth.life:
                        return False
        return True

    def tables_agree(self, vni: int) -> bool:
        """Whether all that have a network forward alike."""
        tables = [self.table(host, vni) for host in self.up if host.node.table.wants(vni + 1)]
        return all(table == tables[0] for table in tables)

    def table(self, host: Host, vni: int) -> dict[bytes, Entry]:
        """What a host forwards by."""
        return {entry.mac: entry for entry in host.node.view.election.winners(vni)}
