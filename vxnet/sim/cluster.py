"""A cluster in one process: hosts, the network between them, and questions about all of them."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from vxnet.gossip.events import MemberState, NodeId
from vxnet.gossip.member import Address, Identity
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.settings import LAN, GossipSettings
from vxnet.sim.clock import Clock
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions, Network
from vxnet.wire.addr import Ip, Vni, Vtep

__all__ = ["Cluster"]

EPOCH = 1_700_000_000_000
GOSSIP_PORT = 7947
VXLAN_PORT = 4789


class Cluster:
    """`size` hosts named n0, n1, ...; the first `seeds` of them are everybody's seeds.

    They start within `start_within_s`, or are all there from the first moment, with the networks
    `vnis`, if `warm`.
    """

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
        warm: bool = False,
        vnis: Sequence[int] = (),
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
        if warm:
            self._start_warm(addresses, vnis)
            return
        for host in self.hosts:
            when = self.random.random() * start_within_s
            self.clock.at(when, lambda host=host: host.start(addresses))

    def _start_warm(self, addresses: list[Address], vnis: Sequence[int]) -> None:
        """All run, and have known each other for long: what joining costs is not of interest."""
        for host in self.hosts:
            host.start(addresses, warm=True)
            for vni in vnis:
                host.node.attach(Vni(vni), 0.0)
        nodes = [host.node for host in self.hosts]
        for host in self.hosts:
            host.node.adopt(nodes, 0.0)
            host.node.join(addresses, 0.0)
            host.act()

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

    def agree(self, vni: int) -> bool:
        """Whether all roots are equal: needed for replicas to be, and quickly seen."""
        roots = {(host.node.table.root_of(0), host.node.table.root_of(vni + 1)) for host in self.up}
        return len(roots) == 1

    def until(
        self, condition: Callable[[], bool], limit_s: float, step_s: float = 0.05
    ) -> float | None:
        """Run until a condition holds; how long that took, None if it never did."""
        start = self.now
        while self.now - start <= limit_s:
            if condition():
                return self.now - start
            self.run(step_s)
        return None

    # ── what must hold ──────────────────────────────────────────────────────────────────────

    def differences(self) -> list[str]:
        """P2: how replicas of running owners differ from the owners' own, a sentence each."""
        found = []
        for owner in self.up:
            for scope in owner.node.table.scopes:
                truth = owner.node.table.own(scope)
                rows = set(truth.live())
                for host in self.up:
                    if host is owner or not host.node.table.wants(scope):
                        continue
                    copy = host.node.table.get(owner.identity.id, scope)
                    same = copy is not None and copy.life == truth.life
                    held = set(copy.live()) if copy is not None and same else set()
                    if held != rows:
                        found.append(
                            f"{host.name} holds {len(held - rows)} rows of {owner.name} in scope"
                            f" {scope} that it does not have, and lacks {len(rows - held)}"
                        )
        return found

    def ghosts(self) -> list[str]:
        """P3: entries that a host forwards by and their owner does not hold, a sentence each."""
        owners = {host.identity.id: host for host in self.up}
        found = []
        for host in self.up:
            for entry in host.node.view.election.winners():
                owner = owners.get(entry.owner)
                if owner is None or not owner.node.table.wants(entry.vni + 1):
                    found.append(f"{host.name} has {entry.mac.hex()} at nobody")
                elif (1, entry.mac) not in {
                    (row.kind, row.key) for row in owner.node.table.own(entry.vni + 1).live()
                }:
                    found.append(f"{host.name} has {entry.mac.hex()} at {owner.name}, wrongly")
        return found

    def disagreements(self, vni: int) -> list[str]:
        """Stations of a network that hosts which have it see at different places."""
        hosts = [host for host in self.up if host.node.table.wants(vni + 1)]
        tables = [
            {
                entry.mac: (entry.owner, entry.version)
                for entry in host.node.view.election.winners(vni)
            }
            for host in hosts
        ]
        return [
            f"{host.name} and {hosts[0].name} differ in {len(table.items() ^ tables[0].items())}"
            for host, table in zip(hosts, tables, strict=True)
            if table != tables[0]
        ]

    def has(self, host: Host, vni: int, mac: bytes) -> bool:
        """Whether a host forwards frames for a station."""
        return host.node.view.election.winner(vni, mac) is not None
