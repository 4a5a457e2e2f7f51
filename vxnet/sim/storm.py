"""Everything that can go wrong at once, and afterwards the question whether all agree.

Stations come, go and move, networks are taken up and given up, hosts crash, sleep and leave, the
network loses, doubles, delays and splits; deltas are cut short, snapshots broken off and tombstones
collected early. At the end all is left in peace, and every replica must equal its owner's own.
"""

from dataclasses import dataclass, field, replace

from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.settings import LAN, GossipSettings
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions

__all__ = ["Storm", "weather"]

VNIS = (5, 6)
STATIONS = 40
PEACE_S = 10.0
REST_S = 20.0

TIGHT = replace(
    LAN,
    tombstone_s=0.5,
    compare_interval_s=3.0,
    delta_max_bytes=300,
    part_max_bytes=300,
    answer_datagrams=12,
    advert_above_rows=6,
    slice_rows=3,
    budget_bytes_per_s=8_000.0,
)
"""Bounds so narrow that every way through the protocol is taken."""

ROUGH = Conditions(
    loss=0.25, duplicates=0.1, reordering=0.2, reorder_s=0.6, breaks=0.2, jitter_s=0.02
)


@dataclass
class Storm:
    """What a storm left behind; nothing at all where the protocol holds."""

    ghosts: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    regressions: list[str] = field(default_factory=list)
    mismatches: int = 0
    trace: str = ""

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong."""
        found = [*self.ghosts, *self.differences, *self.disagreements, *self.regressions]
        if self.mismatches:
            found.append(f"{self.mismatches} streams were not what their owners said")
        return found


class Watch:
    """Looks at every host now and then: no version of a row may ever go back (P3)."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[tuple[object, ...], int] = {}
        self._epochs: dict[tuple[object, ...], int] = {}
        self.regressions: list[str] = []

    def look(self) -> None:
        """Compare with the last time."""
        seen: dict[tuple[object, ...], int] = {}
        for host in self._cluster.up:
            for stream in host.node.table:
                # a network given up and taken up again is begun anew
                taken_up = host.node.table.own(stream.scope).att
                name = (host.name, host.identity.epoch, taken_up, stream.owner, stream.scope)
                if self._epochs.get(name, 0) > stream.epoch:
                    self.regressions.append(f"{host.name} went back to a former life of a member")
                if not stream.contribution:
                    continue  # of a life or attachment that is not the owner's: nobody sees it
                self._epochs[name] = stream.epoch
                for row in stream.live():
                    key = (*name, stream.life, row.key)
                    seen[key] = row.ver
                    before = self._seen.get(key, 0)
                    if before > row.ver:
                        self.regressions.append(
                            f"{host.name} went back from version {before} to {row.ver} of a row"
                        )
        self._seen = seen


def weather(
    size: int,
    seed: int,
    *,
    length_s: float = 30.0,
    rules: Rule = ALL_RULES,
    settings: GossipSettings = TIGHT,
    conditions: Conditions = ROUGH,
    keys: tuple[bytes, ...] = (),
) -> Storm:
    """One storm over a cluster of this size."""
    cluster = Cluster(size, seed, settings=settings, conditions=conditions, rules=rules, keys=keys)
    watch = Watch(cluster)
    cluster.run(3.0)
    for host in cluster:
        for vni in VNIS:
            host.attach(vni)
    end = cluster.now + length_s
    while cluster.now < end:
        cluster.run(0.2)
        for host in list(cluster):
            if cluster.random.random() < 0.6:
                _happen(cluster, host)
        watch.look()
    _calm(cluster)
    cluster.run(PEACE_S)
    storm = Storm(ghosts=cluster.ghosts())
    watch.look()
    cluster.run(REST_S)
    watch.look()
    storm.differences = cluster.differences()
    storm.disagreements = [text for vni in VNIS for text in cluster.disagreements(vni)]
    storm.ghosts += cluster.ghosts()
    storm.regressions = watch.regressions
    storm.mismatches = sum(host.node.hub.counters["streams_mismatched"] for host in cluster.up)
    storm.trace = cluster.network.trace
    return storm


def _happen(cluster: Cluster, host: Host) -> None:
    """Something happens to a host."""
    random = cluster.random
    if not host.up:
        if random.random() < 0.2:
            host.restart(state=random.random() < 0.7)
            for vni in VNIS:
                host.attach(vni)
        return
    vni = random.choice(VNIS)
    has = host.node.table.wants(vni + 1)
    mac = b"\x02\0\0\0\0" + bytes((random.randrange(STATIONS),))
    kind = random.random()
    if kind < 0.65 and has:
        ips = [random.randbytes(16) for _ in range(random.randrange(9))]
        host.announce(vni, mac, *ips, moved=kind < 0.1)
    elif kind < 0.90 and has:
        host.withdraw(vni, mac)
    elif kind < 0.93:
        if has:
            host.detach(vni)
        else:
            host.attach(vni)
    elif kind < 0.945:
        host.crash()
    elif kind < 0.955:
        host.pause(random.random() * 3.0)
    elif kind < 0.965:
        _split(cluster)
    elif kind < 0.985:
        cluster.network.heal()
    elif kind < 0.99:
        cluster.network.cut(host.address, random.choice(cluster.hosts).address)


def _split(cluster: Cluster) -> None:
    addresses = [host.address for host in cluster]
    cluster.random.shuffle(addresses)
    at = cluster.random.randrange(1, max(2, len(addresses)))
    cluster.network.split(addresses[:at], addresses[at:])


def _calm(cluster: Cluster) -> None:
    """The network is as it should be, and whoever is down comes back."""
    cluster.network.heal()
    cluster.network.conditions = Conditions()
    for host in cluster:
        if not host.up:
            host.restart()
            for vni in VNIS:
                host.attach(vni)
