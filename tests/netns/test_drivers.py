"""Every driver on real devices: what it carries, what it refuses, what it leaves."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clusters import cluster_on, vxnet
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.errors import HostError

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts on one underlay."""
    with cluster_on(2) as built:
        yield built


@pytest.fixture
def daemon(cluster: Cluster) -> Iterator[Daemon]:
    """The first host's daemon; what a test makes there is removed."""
    first = cluster.daemons[0]
    before = devices(first.host)
    yield first
    for endpoint in first.client.endpoints():
        first.client.remove_endpoint(endpoint.id)
    for network in first.client.networks():
        first.client.remove_network(network.name)
    assert devices(first.host) == before
    assert "vxnet" not in first.host.run(["nft", "list", "tables"]).stdout


def devices(namespace: Namespace) -> list[str]:
    """The names of a namespace's devices."""
    lines = namespace.run(["ip", "-o", "link"]).stdout.splitlines()
    return sorted(line.split(": ")[1].split("@")[0] for line in lines)


def do(daemon: Daemon, *arguments: str) -> str:
    """Run a command that is expected to be done; what it prints."""
    done = vxnet(daemon, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(daemon: Daemon, *arguments: str) -> str:
    """Run a command that is expected to be refused; the sentence."""
    done = vxnet(daemon, *arguments)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def attach(daemon: Daemon, network: str, name: str, *more: str) -> tuple[Namespace, str]:
    """A sandbox in a network, and its IPv4 address."""
    sandbox = daemon.host.sandbox(name)
    do(daemon, "attach", network, "--netns", sandbox.name, "--name", name, *more)
    endpoint = daemon.client.endpoint(name)
    (address,) = [a.split("/")[0] for a in endpoint.addresses if ":" not in a]
    return sandbox, address


def pings(sandbox: Namespace, address: str, *, wait_s: int = 2) -> bool:
    """Whether an address answers within a while."""
    done = sandbox.run(["ping", "-c", "1", "-W", str(wait_s), address], check=False)
    return done.returncode == 0


def serve(sandbox: Namespace, port: int, text: str) -> subprocess.Popen[bytes]:
    """Answer TCP connections with a text, and the address the client is seen with."""
    code = (
        "import socket, sys\n"
        "s = socket.create_server(('', int(sys.argv[1])))\n"
        "while True:\n"
        "    c, a = s.accept()\n"
        "    c.sendall((sys.argv[2] + ' ' + a[0]).encode())\n"
        "    c.close()\n"
    )
    return sandbox.popen([sys.executable, "-c", code, str(port), text])


def ask(namespace: Namespace, address: str, port: int) -> str:
    """What a TCP server says."""
    code = (
        "import socket, sys\n"
        "with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2) as c:\n"
        "    print(c.recv(100).decode())\n"
    )
    for _ in range(20):
        with contextlib.suppress(HostError):
            return namespace.run([sys.executable, "-c", code, address, str(port)]).stdout.strip()
    return ""


def test_a_bridge_joins_sandboxes_of_one_host_and_leads_out(
    cluster: Cluster, daemon: Daemon
) -> None:
    do(daemon, "network", "create", "app", "--driver", "bridge", "--subnet", "172.29.1.0/24")
    one, _ = attach(daemon, "app", "one")
    _, address = attach(daemon, "app", "two")
    assert pings(one, address)
    assert pings(one, "172.29.1.1")
    assert f"{address} two h1" in " ".join(do(daemon, "ipam", "ls", "-n", "app").split())
    # The other host has no route to 172.29.1.0/24: an answer proves that the host translated.
    assert pings(one, cluster.daemons[1].vtep)
    assert "app" not in [network.name for network in cluster.daemons[1].networks()]


def test_a_published_port_is_reached_from_outside_and_from_the_inside(
    cluster: Cluster, daemon: Daemon
) -> None:
    do(daemon, "network", "create", "app", "--driver", "bridge", "--subnet", "172.29.2.0/24")
    web, _ = attach(daemon, "app", "web", "--publish", "8080:80/tcp")
    server = serve(web, 80, "hello")
    client = cluster.daemons[1]
    assert ask(client.host, daemon.vtep, 8080) == f"hello {client.vtep}"
    other, _ = attach(daemon, "app", "other")
    assert ask(other, daemon.vtep, 8080).startswith("hello ")
    assert ask(daemon.host, daemon.vtep, 8080).startswith("hello ")
    sentence = refused(
        daemon, "attach", "app", "--netns", other.name, "-p", "8080:81", "--ifname", "eth1"
    )
    assert "port 8080/tcp of this host is published by endpoint web" in sentence
    server.kill()


def test_an_internal_bridge_leads_nowhere(cluster: Cluster, daemon: Daemon) -> None:
    do(
        daemon,
        "network",
        "create",
        "app",
        "--driver",
        "bridge",
        "--subnet",
        "172.29.3.0/24",
        "--opt",
        "internal=true",
    )
    one, _ = attach(daemon, "app", "one")
    _, address = attach(daemon, "app", "two")
    assert pings(one, address)
    one.run(["ip", "route", "add", "default", "via", "172.29.3.1"])
    assert not pings(one, cluster.daemons[1].vtep, wait_s=1)
    sentence = refused(daemon, "attach", "app", "--netns", one.name, "-p", "80:80")
    assert "is internal; nothing of it can be published" in sentence


def test_endpoints_of_a_bridge_can_be_kept_apart(daemon: Daemon) -> None:
    do(
        daemon,
        "network",
        "create",
        "app",
        "--driver",
        "bridge",
        "--subnet",
        "172.29.4.0/24",
        "--opt",
        "icc=false",
    )
    one, _ = attach(daemon, "app", "one")
    _, address = attach(daemon, "app", "two")
    assert not pings(one, address, wait_s=1)
    assert pings(one, "172.29.4.1")


def test_two_bridges_do_not_meet(daemon: Daemon) -> None:
    for number in (5, 6):
        do(
            daemon,
            "network",
            "create",
            f"app{number}",
            "--driver",
            "bridge",
            "--subnet",
            f"172.29.{number}.0/24",
        )
    one, _ = attach(daemon, "app5", "one")
    _, address = attach(daemon, "app6", "two")
    assert not pings(one, address, wait_s=1)


def test_rules_that_somebody_flushed_are_back_within_two_seconds(
    cluster: Cluster, daemon: Daemon
) -> None:
    do(daemon, "network", "create", "app", "--driver", "bridge", "--subnet", "172.29.7.0/24")
    one, _ = attach(daemon, "app", "one")
    daemon.host.run(["nft", "flush", "ruleset"])
    wait_for(
        lambda: "masquerade" in daemon.host.run(["nft", "list", "ruleset"]).stdout,
        10,
        "the rules are back",
    )
    assert pings(one, cluster.daemons[1].vtep)


def test_a_bridge_carries_on_while_the_daemon_is_dead(cluster: Cluster, daemon: Daemon) -> None:
    do(daemon, "network", "create", "app", "--driver", "bridge", "--subnet", "172.29.8.0/24")
    one, _ = attach(daemon, "app", "one")
    two, address = attach(daemon, "app", "two")
    daemon.kill()
    assert pings(one, address)
    daemon.start()
    daemon.wait_until_ready()
    assert pings(one, address)
    assert pings(two, cluster.daemons[1].vtep)
    cluster.wait_for_members()


def test_the_way_out_leads_through_the_endpoint_with_the_highest_priority(daemon: Daemon) -> None:
    for number in (1, 2):
        do(
            daemon,
            "network",
            "create",
            f"app{number}",
            "--driver",
            "bridge",
            "--subnet",
            f"172.30.{number}.0/24",
        )
    one, _ = attach(daemon, "app1", "first", "--priority", "5")
    do(
        daemon,
        "attach",
        "app2",
        "--netns",
        one.name,
        "--ifname",
        "eth1",
        "--name",
        "second",
        "--priority",
        "9",
    )
    route = ["ip", "route", "get", "198.51.100.1"]
    assert "via 172.30.2.1" in one.run(route).stdout
    do(daemon, "detach", "second")
    assert "via 172.30.1.1" in one.run(route).stdout


def test_macvlan_joins_sandboxes_on_the_segment_of_two_hosts(
    cluster: Cluster, daemon: Daemon
) -> None:
    other = cluster.daemons[1]
    parent = daemon.status().underlay_device
    do(
        daemon,
        "network",
        "create",
        "lan",
        "--driver",
        "macvlan",
        "--subnet",
        "192.0.2.128/25",
        "--opt",
        f"parent={parent}",
    )
    cluster.wait_for_network("lan")
    one, mine = attach(daemon, "lan", "one")
    try:
        if other.status().underlay_device != parent:
            pytest.fail("the bed's hosts were expected to call their devices alike")
        two, theirs = attach(other, "lan", "two")
        assert pings(one, theirs)
        assert pings(two, mine)
    finally:
        with contextlib.suppress(Exception):
            other.client.remove_endpoint("two")


def test_a_parent_that_is_not_there_is_said(daemon: Daemon) -> None:
    sentence = refused(
        daemon, "network", "create", "lan", "--driver", "macvlan", "--opt", "parent=nope0"
    )
    assert "this host has no device nope0; it has" in sentence
    sentence = refused(daemon, "network", "create", "lan", "--driver", "macvlan")
    assert "--opt parent=eth0" in sentence


def test_what_this_kernel_lacks_is_a_sentence(daemon: Daemon) -> None:
    (ipvlan,) = [d for d in daemon.client.drivers() if d.name == "ipvlan"]
    parent = daemon.status().underlay_device
    done = vxnet(
        daemon, "network", "create", "lan", "--driver", "ipvlan", "--opt", f"parent={parent}"
    )
    if ipvlan.lacks is None:
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert "cannot run on this host: this kernel has no ipvlan" in done.stderr


def test_the_host_driver_takes_only_the_hosts_namespace(daemon: Daemon) -> None:
    do(daemon, "network", "create", "plain", "--driver", "host")
    do(daemon, "attach", "plain", "--path", str(daemon.host.path), "--name", "here")
    elsewhere = daemon.host.sandbox("one")
    sentence = refused(daemon, "attach", "plain", "--netns", elsewhere.name)
    assert "is not the host's own namespace" in sentence
    assert daemon.client.endpoint("here").addresses == ()


def test_the_none_driver_puts_nothing_into_a_sandbox(daemon: Daemon) -> None:
    do(daemon, "network", "create", "alone", "--driver", "none")
    sandbox = daemon.host.sandbox("alone")
    do(daemon, "attach", "alone", "--netns", sandbox.name, "--name", "hermit")
    assert devices(sandbox) == ["lo"]


def test_options_that_a_driver_does_not_have_are_named(daemon: Daemon) -> None:
    for driver in ("bridge", "macvlan", "host", "none"):
        sentence = refused(
            daemon,
            "network",
            "create",
            "x",
            "--driver",
            driver,
            "--opt",
            "fast=1",
            "--opt",
            "far=2",
        )
        assert f"the {driver} driver has no option far, fast" in sentence


def test_a_third_partys_plugin_makes_networks(daemon: Daemon) -> None:
    name = f"vxt{secrets.token_hex(4)}"
    directory = Path("/run/docker/plugins")
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    socket = directory / f"{name}.sock"
    plugin = daemon.host.popen([sys.executable, "-m", "vxnet.demo.plugin", socket])
    try:
        wait_for(socket.is_socket, 30, "the plugin answers")
        do(daemon, "network", "create", "theirs", "--driver", name, "--subnet", "172.31.1.0/24")
        one, mine = attach(daemon, "theirs", "one")
        two, theirs = attach(daemon, "theirs", "two")
        assert pings(one, theirs)
        assert pings(two, mine)
        sentence = refused(
            daemon,
            "network",
            "create",
            "no",
            "--driver",
            name,
            "--subnet",
            "172.31.2.0/24",
            "--opt",
            "refuse=yes",
        )
        assert f"the plugin {name} refuses CreateNetwork: it was asked to refuse" in sentence
        for endpoint in ("one", "two"):
            do(daemon, "detach", endpoint)
        assert devices(one) == devices(two) == ["lo"]
        do(daemon, "network", "rm", "theirs")
    finally:
        plugin.kill()
        plugin.wait()
        socket.unlink(missing_ok=True)
        if made:
            directory.rmdir()


def test_a_driver_nobody_has_is_said_with_those_there_are(daemon: Daemon) -> None:
    sentence = refused(daemon, "network", "create", "x", "--driver", "warp")
    assert "there is no driver warp: this host has bridge, host, ipvlan, macvlan" in sentence


def test_drivers_are_listed_with_what_each_is_for(daemon: Daemon) -> None:
    text = do(daemon, "network", "drivers")
    for name in ("overlay", "bridge", "macvlan", "ipvlan", "host", "none"):
        assert f"\n{name} " in f"\n{text}"


def test_sandboxes_are_made_entered_and_removed(daemon: Daemon) -> None:
    name = f"{daemon.host.name}-made"
    do(daemon, "sandbox", "create", name)
    try:
        assert "already a network namespace" in refused(daemon, "sandbox", "create", name)
        do(daemon, "network", "create", "app", "--driver", "bridge", "--subnet", "172.31.9.0/24")
        do(daemon, "network", "connect", "app", "--netns", name)
        assert "eth0" in do(daemon, "exec", name, "ip", "-o", "link")
        assert "detach them first" in refused(daemon, "sandbox", "rm", name)
        assert name in do(daemon, "sandbox", "ls")
        do(daemon, "network", "disconnect", "app", "--netns", name)
        do(daemon, "sandbox", "inspect", name)
    finally:
        do(daemon, "sandbox", "rm", name)
    assert not Path("/run/netns", name).exists()
