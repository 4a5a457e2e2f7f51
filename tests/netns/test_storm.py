"""Random steps on three real hosts: in the end everything is accounted for, and nothing is left.

`VXNET_STEPS=10000 scripts/test -n 0 -s tests/netns/test_storm.py` makes it a long one and says how
it goes; tests/test_storm.py takes as many on imagined hosts.
"""

import os
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from random import Random

import pytest

from tests.helpers.clusters import cluster_on
from vxnet.api.model import AttachBody, EndpointBody, EndpointView, JoinBody, NetworkBody
from vxnet.demo.bed import UNDERLAY
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.namespace import NAMESPACES, Namespace
from vxnet.errors import HostError, StateError, VxnetError

STEPS = int(os.environ.get("VXNET_STEPS", "120"))
SEED = int(os.environ.get("VXNET_STEPS_SEED", "1"))
HOSTS = 3
KILL_EVERY = 25
LOOK_EVERY = 500
"""So often a long storm rests, for what is amiss to be found near where it began."""
SANDBOXES = 3

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300 + 2 * STEPS)]


class Storm:
    """Attaches, detaches, kills and restarts, and knows what must be there after it."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.done: Counter[str] = Counter()
        self.networks = ["blue"]

    def step(self, number: int) -> None:
        daemon = self.random.choice(self.cluster.daemons)
        verb = self.random.choices(
            ["attach", "detach", "create", "join", "leave"], [30, 24, 14, 22, 10]
        )[0]
        if number % KILL_EVERY == 0:
            verb = self.random.choice(["kill", "restart"])
        try:
            getattr(self, verb)(daemon, number)
            self.done[verb] += 1
        except StateError:
            self.done["refused"] += 1

    def attach(self, daemon: Daemon, number: int) -> None:
        network = self.random.choice(["blue", "app", "lan"])
        publish = (f"{2000 + number}:80",) if network == "app" else ()
        body = EndpointBody(network, name=f"e{number}", publish=publish)
        daemon.client.attach(AttachBody(body, self.somewhere(daemon)))

    def create(self, daemon: Daemon, number: int) -> None:
        daemon.client.create_endpoint(EndpointBody("blue", name=f"e{number}"))

    def join(self, daemon: Daemon, number: int) -> None:
        daemon.client.join(self.one_of(daemon), self.somewhere(daemon))

    def leave(self, daemon: Daemon, number: int) -> None:
        daemon.client.leave(self.one_of(daemon))

    def detach(self, daemon: Daemon, number: int) -> None:
        daemon.client.remove_endpoint(self.one_of(daemon))

    def kill(self, daemon: Daemon, number: int) -> None:
        daemon.kill()
        daemon.start()
        daemon.wait_until_ready()

    def restart(self, daemon: Daemon, number: int) -> None:
        assert daemon.stop() == 0
        daemon.start()
        daemon.wait_until_ready()

    def somewhere(self, daemon: Daemon) -> JoinBody:
        sandbox = daemon.host.sandbox(f"s{self.random.randrange(SANDBOXES)}")
        return JoinBody("netns", sandbox.name, f"eth{self.random.randrange(3)}")

    def one_of(self, daemon: Daemon) -> str:
        endpoints = daemon.client.endpoints()
        if not endpoints:
            raise StateError("there is none")
        return self.random.choice(endpoints).id


def devices(place: Namespace) -> set[str]:
    lines = place.run(["ip", "-o", "link"]).stdout.splitlines()
    return {line.split(": ")[1].split("@")[0] for line in lines} - {"lo"}


def published(daemon: Daemon) -> set[str]:
    """The ports of this host that its packet filter leads somewhere."""
    rules = daemon.host.run(["nft", "list", "ruleset"]).stdout.splitlines()
    return {line.split("dport ")[1].split()[0] for line in rules if "dport " in line}


def unaccounted(cluster: Cluster) -> list[str]:
    """What does not fit what the daemons say there is."""
    found: list[str] = []
    everything: list[EndpointView] = []
    for daemon in cluster.daemons:
        label = daemon.host.label
        endpoints = daemon.client.endpoints()
        everything += endpoints
        found += [f"{label} {e.name} is {e.state}" for e in endpoints if not is_at_rest(e)]
        wanted = {(e.sandbox.removeprefix("netns "), e.ifname) for e in endpoints if e.sandbox}
        there = {(s.name, d) for s in daemon.host.sandboxes.values() for d in devices(s)}
        found += [f"{label} sandboxes: {one}" for one in wanted ^ there]
        joined = [e for e in endpoints if e.sandbox]
        bridged = sum(e.network == "app" for e in joined)
        own = {d for d in devices(daemon.host) if d.startswith("vx")}
        if len([d for d in own if d.startswith("vxp")]) != bridged:
            found.append(f"{label} has {own} for {bridged} endpoints on a bridge")
        found += [f"{label} left {d}" for d in own if not d.startswith(("vxp", "vxb"))]
        ports = {p.split(":")[0] for e in joined for p in e.published}
        found += [f"{label} port {port}" for port in ports ^ published(daemon)]
        found += [f"{label} {problem}" for problem in daemon.client.verify().problems]
    shared = [e for e in everything if e.network != "app"]
    for name, values in (
        ("MAC", [e.mac for e in everything]),
        ("address", [a for e in shared for a in e.addresses]),
    ):
        found += [f"{name} {v} twice" for v, count in Counter(values).items() if count > 1]
    for daemon in cluster.daemons:
        leases = [a for a in daemon.client.leases() if a.reason == "in use"]
        held = sorted(a.address for a in leases if a.network != "app")
        if held != sorted(a.split("/")[0] for e in shared for a in e.addresses):
            found.append(f"{daemon.host.label} says held: {held}")
    return found


def rows(daemon: Daemon) -> list[str]:
    """The keys of what the daemon saved of endpoints."""
    path = daemon.host.directory / "vxnet.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT key FROM item WHERE kind = 'endpoint'").fetchall()
    return [key for (key,) in found]


def namespaces(cluster: Cluster) -> list[str]:
    """The namespaces of this bed that the test did not make."""
    prefix = cluster.bed.prefix
    made = {f"{prefix}-switch"}
    for host in cluster.bed.hosts:
        made |= {host.name, *(sandbox.name for sandbox in host.sandboxes.values())}
    there = {path.name for path in NAMESPACES.iterdir() if path.name.startswith(prefix)}
    return sorted(there ^ made)


def settle(cluster: Cluster) -> None:
    """News takes a moment; then nothing may be unaccounted for."""
    with suppress(HostError):
        wait_for(lambda: not unaccounted(cluster), 60, "all is accounted for")
    assert unaccounted(cluster) == []


def is_at_rest(endpoint: EndpointView) -> bool:
    return endpoint.state == ("joined" if endpoint.sandbox else "created")


def test_nothing_is_lost_and_nothing_is_left_after_a_storm() -> None:
    with cluster_on(HOSTS, settings='profile = "wan"') as cluster:
        first = cluster.daemons[0]
        for daemon in cluster.daemons:
            body = NetworkBody("app", driver="bridge", subnets=("10.30.0.0/24",))
            daemon.client.create_network(body)
        first.client.create_network(NetworkBody("blue", subnets=("10.9.0.0/24", "fd00:9::/64")))
        first.client.create_network(
            NetworkBody(
                "lan", driver="macvlan", subnets=("10.31.0.0/24",), options={"parent": UNDERLAY}
            )
        )
        for name in ("blue", "lan"):
            cluster.wait_for_network(name)
        before = {d.host.label: devices(d.host) for d in cluster.daemons}
        storm = Storm(cluster, Random(SEED))
        began = time.monotonic()
        for number in range(1, STEPS + 1):
            storm.step(number)
            if number % LOOK_EVERY == 0:
                settle(cluster)
                print(f"{time.monotonic() - began:6.0f} s  {number} steps: {dict(storm.done)}")
        print(f"{STEPS} steps in {time.monotonic() - began:.0f} s: {dict(storm.done)}")
        assert min(storm.done[verb] for verb in ("attach", "detach", "join")) > 0
        assert storm.done["kill"] + storm.done["restart"] == STEPS // KILL_EVERY
        cluster.wait_for_members(60)
        settle(cluster)

        for daemon in cluster.daemons:
            for endpoint in daemon.client.endpoints():
                daemon.client.remove_endpoint(endpoint.id)
        settle(cluster)
        assert namespaces(cluster) == []
        for daemon in cluster.daemons:
            assert rows(daemon) == []
            assert not [s.name for s in daemon.host.sandboxes.values() if devices(s)]
            assert devices(daemon.host) == before[daemon.host.label]
            assert {a.reason for a in daemon.client.leases()} <= {"in grace"}
            assert daemon.fdb() == []
            daemon.client.remove_network("app")
            assert "vxnet" not in daemon.host.run(["nft", "list", "tables"]).stdout
        for name in ("blue", "lan"):
            wait_for(lambda n=name: is_removed(first, n), 30, f"{name} is removed")


def is_removed(daemon: Daemon, network: str) -> bool:
    try:
        daemon.client.remove_network(network)
    except VxnetError:
        return network not in [n.name for n in daemon.networks()]
    return True
