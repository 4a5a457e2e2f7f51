"""What a cluster does, as numbers: how fast news spreads, how soon a crash is known, what healing
takes, who is declared dead wrongly, what rest costs."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vxnet.gossip.events import MemberChanged, MemberState
from vxnet.gossip.settings import LAN, GossipSettings
from vxnet.gossip.suspicion import shortest_s
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions

__all__ = [
    "crash_s",
    "false_deaths",
    "idle_bytes_per_s",
    "paused_deaths",
    "percentile",
    "split_heals_s",
    "spread_intervals",
]

VNI = 5
NEVER = math.inf


def percentile(values: list[float], share: float) -> float:
    """The value that a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def spread_intervals(
    size: int, seed: int, loss: float, *, updates: int = 5, settings: GossipSettings = LAN
) -> list[float]:
    """P1: gossip intervals, over log2 of the size, until an update is with the last member."""
    cluster = Cluster(
        size, seed, conditions=Conditions(loss=loss), settings=settings, warm=True, vnis=(VNI,)
    )
    cluster.run(cluster.random.random())
    took = []
    for number in range(updates):
        mac = b"\x02\0\0\0\0" + bytes((number,))
        cluster.random.choice(cluster.hosts).announce(VNI, mac)
        waiting = set(cluster.hosts)

        def spread(waiting: set[Host] = waiting, mac: bytes = mac) -> bool:
            waiting -= {host for host in waiting if cluster.has(host, VNI, mac)}
            return not waiting

        passed = cluster.until(spread, 30.0, 0.005)
        seconds = NEVER if passed is None else passed
        took.append(seconds / settings.gossip_interval_s / math.log2(size))
        cluster.run(1.0 + cluster.random.random())
    return took


def crash_s(
    size: int, seed: int, loss: float = 0.0, *, settings: GossipSettings = LAN
) -> tuple[float, float]:
    """P5: seconds until the last member knows of a crash, and what is allowed for it."""
    cluster = Cluster(size, seed, conditions=Conditions(loss=loss), settings=settings, warm=True)
    cluster.run(3.0 + 3.0 * cluster.random.random())
    victim = cluster.random.choice(cluster.hosts)
    victim.crash()
    node_id = victim.identity.id
    passed = cluster.until(
        lambda: all(_state(host, node_id) is MemberState.DEAD for host in cluster.up), 120.0
    )
    shortest = shortest_s(size, settings.probe_interval_s, settings.suspicion_factor)
    return (
        NEVER if passed is None else passed,
        shortest + 3 * settings.probe_interval_s,
    )


def _state(host: Host, node_id: int) -> MemberState | None:
    peer = host.node.roster.get(node_id)
    return peer.state if peer is not None else None


def split_heals_s(
    size: int, seed: int, *, length_s: float = 40.0, restart_seeds: bool = False
) -> float:
    """P6: seconds from the end of a half/half split until all hold all alive and agree."""
    cluster = Cluster(size, seed, warm=True, vnis=(VNI,))
    cluster.run(2.0)
    half = size // 2
    mixed = list(cluster.hosts)
    cluster.random.shuffle(mixed)
    cluster.network.split(
        [host.address for host in mixed[:half]], [host.address for host in mixed[half:]]
    )
    cluster.run(length_s / 2)
    for number, host in enumerate(mixed):
        host.announce(VNI, b"\x02\0\0\1" + number.to_bytes(2, "big"))
    if restart_seeds:
        for host in cluster.hosts[:3]:
            host.crash()
            host.restart()
            host.attach(VNI)
    cluster.run(length_s / 2)
    cluster.network.heal()
    passed = cluster.until(
        lambda: (
            cluster.joined()
            and cluster.agree(VNI)
            and not cluster.differences()
            and not cluster.disagreements(VNI)
        ),
        60.0,
    )
    return NEVER if passed is None else passed


def _deaths(cluster: Cluster) -> list[tuple[str, str]]:
    """Who was declared dead, and by whom this is believed, from now on."""
    found: list[tuple[str, str]] = []

    def watch(host: Host) -> Callable[[float, object], None]:
        def hear(_: float, event: object) -> None:
            if isinstance(event, MemberChanged) and event.member.state is MemberState.DEAD:
                found.append((event.member.name, host.name))

        return hear

    for host in cluster:
        host.watchers.append(watch(host))
    return found


def paused_deaths(size: int, seed: int, *, share: float = 0.8) -> list[tuple[str, str]]:
    """P4: deaths declared while one process stands still for a share of the suspicion time."""
    cluster = Cluster(size, seed, warm=True)
    cluster.run(3.0 + cluster.random.random())
    found = _deaths(cluster)
    shortest = shortest_s(size, LAN.probe_interval_s, LAN.suspicion_factor)
    cluster.random.choice(cluster.hosts).pause(share * shortest)
    cluster.run(3 * shortest)
    return found


def false_deaths(
    size: int,
    seed: int,
    *,
    starved: float = 0.1,
    for_s: float = 60.0,
    slow_s: float = 0.3,
    lifeguard: bool = True,
) -> int:
    """P4: deaths of members that are well, while others hardly ever get to run.

    These take `slow_s` for each datagram, and stand still now and then.
    """
    settings = replace(LAN, lifeguard=lifeguard)
    cluster = Cluster(size, seed, settings=settings, warm=True)
    cluster.run(2.0)
    found = _deaths(cluster)
    random = cluster.random
    sleepers = random.sample(cluster.hosts, max(1, round(size * starved)))
    shortest = shortest_s(size, settings.probe_interval_s, settings.suspicion_factor)
    end = cluster.now + for_s

    def starve(host: Host) -> None:
        if cluster.now < end:
            asleep_s = shortest * random.random()
            host.pause(asleep_s)
            cluster.clock.at(cluster.now + asleep_s + 3 * random.random(), partial(starve, host))

    for host in sleepers:
        host.slow_s = slow_s
        starve(host)
    cluster.run(for_s + 2 * shortest)
    names = {host.name for host in sleepers}
    return sum(1 for who, _ in found if who not in names)


def idle_bytes_per_s(size: int, seed: int, *, for_s: float = 60.0) -> float:
    """P7: octets a second a node sends at rest, with IP and UDP headers."""
    cluster = Cluster(size, seed, warm=True)
    cluster.run(30.0)
    cluster.network.octets.clear()
    cluster.run(for_s)
    return sum(cluster.network.octets.values()) / for_s / size
