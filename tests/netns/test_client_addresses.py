"""Members see who really asks at a published port, on whatever host each is, on real devices."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.api.model import AttachBody, EndpointBody, JoinBody, NetworkBody, ServiceBody
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.demo.processes import end_all
from vxnet.errors import StateError

pytestmark = pytest.mark.netns

# Says who asks, and then the same back; "later" takes it longer.
SERVER = """
import socket, threading, time
def told(client):
    return f"{client[0].removeprefix('::ffff:')} {client[1]} ".encode()
def echo(made):
    while True:
        data, client = made.recvfrom(65536)
        made.sendto(told(client) + data, client)
def talk(made, client):
    made.sendall(told(client))
    while data := made.recv(65536):
        if data == b"later":
            time.sleep(4.0)
        made.sendall(data)
stream = socket.create_server(("", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
datagrams.bind(("", 5353))
threading.Thread(target=echo, args=(datagrams,), daemon=True).start()
print("there", flush=True)
while True:
    threading.Thread(target=talk, args=stream.accept(), daemon=True).start()
"""
GATEWAYS = ("10.9.0.1", "fd00:9::1")
SERVICE: Final[dict[str, Any]] = {
    "ports": ("80:8080", "53:5353/udp"),
    "publish": ("8081:80", "8053:53/udp"),
}
INSIDE = "10.9.0.250"


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts, and a network whose gateway is nobody."""
    with cluster_on(2, datapath=request.param) as built:
        body = NetworkBody("blue", subnets=SUBNETS, gateways=GATEWAYS, allow_overlap=True)
        built.daemons[0].client.create_network(body)
        built.wait_for_network("blue")
        yield built


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Cluster]:
    """Its one member is on the second host, and answers clients."""
    with member_of(cluster, "blue"):
        yield cluster


@contextmanager
def member_of(cluster: Cluster, network: str, *, sees: str = "clients") -> Iterator[Namespace]:
    """The sandbox of the member of a service, when both hosts know what it sees."""
    one, other = cluster.daemons
    one.client.create_service(ServiceBody("shop", network, **SERVICE))
    sandbox = other.host.sandbox("m0")
    server = sandbox.popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server.stdout as said:
        assert said.readline() == b"there\n"
    try:
        body = EndpointBody(network, name="m0", services=("shop",))
        other.client.attach(AttachBody(body, JoinBody("netns", sandbox.name)))
        wait_for(lambda: all(map(is_open, cluster.daemons)), 20.0, "the ports are open")
        wait_for(lambda: all(seen(d).startswith(sees) for d in cluster.daemons), 20.0, "it is told")
        yield sandbox
    finally:
        other.client.remove_endpoint("m0")
        end_all([server])
        one.client.remove_service("shop")
        wait_for(
            lambda: not any(daemon.client.services() for daemon in cluster.daemons),
            20.0,
            "all gone",
        )


def seen(daemon: Daemon) -> str:
    """Whom a host believes the member to see."""
    return " ".join(member.sees for member in daemon.client.service("shop").members)


def is_removed(daemon: Daemon, network: str) -> bool:
    try:
        daemon.client.remove_network(network)
    except StateError:
        return False
    return True


def is_open(daemon: Daemon) -> bool:
    return all(port.state == "open" for port in daemon.client.service("shop").published)


def connect(asker: Daemon, address: str, *, source: str = "") -> socket.socket:
    made = asker.host.inside(lambda: socket.socket(family_of(address), socket.SOCK_STREAM))
    made.settimeout(30.0)
    if source:
        made.bind((source, 0))
    made.connect((address, 8081))
    return made


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def hear(made: socket.socket, count: int) -> bytes:
    heard = b""
    while len(heard) < count:
        more = made.recv(count - len(heard))
        assert more, "the connection ended"
        heard += more
    return heard


def who(made: socket.socket) -> tuple[str, int]:
    """Whom the member took the asker for."""
    words = b""
    while words.count(b" ") < 2:
        words += hear(made, 1)
    address, port = words.split()
    return address.decode(), int(port)


def says_back(made: socket.socket, text: bytes) -> bool:
    sending = threading.Thread(target=made.sendall, args=(text,))
    sending.start()
    heard = hear(made, len(text))
    sending.join()
    return heard == text


def who_sent(asker: Daemon, address: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Whom the member took somebody's datagram for, and who it was."""
    with asker.host.inside(lambda: socket.socket(family_of(address), socket.SOCK_DGRAM)) as made:
        made.settimeout(20.0)
        made.connect((address, 8053))
        for size in (5, 5_000):  # the second is fragments
            made.send(bytes(size))
            client, port, echoed = made.recv(65_536).split(b" ", 2)
            assert echoed == bytes(size)
        return (client.decode(), int(port)), made.getsockname()[:2]


def test_a_member_sees_the_client_over_tcp_and_udp_and_both_versions_of_ip(shop: Cluster) -> None:
    one, other = shop.daemons
    for asker, asked in ((one, other), (other, one), (one, one), (other, other)):
        for address in (asked.host.vtep4, asked.host.vtep6):
            with connect(asker, address) as made:
                assert who(made) == made.getsockname()[:2]
                assert says_back(made, bytes(300_000))
            taken_for, was = who_sent(asker, address)
            assert taken_for == was
    # From its own loopback address a host is no client that could be answered.
    with connect(one, "127.0.0.1") as made:
        assert who(made)[0].startswith("10.9.0.")
    assert "clients" in vxnet(one, "service", "inspect", "shop").stdout


def test_a_client_with_an_address_of_the_network_is_shown_as_the_host(shop: Cluster) -> None:
    one, other = shop.daemons
    other.host.run(["ip", "address", "add", f"{INSIDE}/32", "dev", "lo"])
    one.host.run(["ip", "route", "add", f"{INSIDE}/32", "via", other.vtep])
    try:
        with connect(other, one.vtep, source=INSIDE) as made:
            address, _ = who(made)
            assert address != INSIDE
            assert address.startswith("10.9.0.")
            assert says_back(made, b"hello")
    finally:
        one.host.run(["ip", "route", "del", f"{INSIDE}/32"])
        other.host.run(["ip", "address", "del", f"{INSIDE}/32", "dev", "lo"])


def test_a_connection_goes_on_when_the_members_daemon_is_killed_and_back(shop: Cluster) -> None:
    one, other = shop.daemons
    with connect(one, one.vtep) as asking, connect(one, one.vtep) as waiting:
        for made in (asking, waiting):
            assert who(made) == made.getsockname()
        waiting.sendall(b"later")
        other.kill()
        other.start()
        other.wait_until_ready()
        assert says_back(asking, b"still there")
        assert hear(waiting, 5) == b"later"  # it was the member's turn to speak


def test_a_member_that_does_not_answer_clients_is_asked_as_the_host(cluster: Cluster) -> None:
    one, _ = cluster.daemons
    with member_of(cluster, "blue") as sandbox:
        sandbox.run(["ip", "route", "del", "default"])
        with connect(one, one.vtep) as made:
            assert who(made)[0].startswith("10.9.0.")
        assert "did not answer" in seen(one)
        with connect(one, one.vtep) as made:
            assert who(made)[0].startswith("10.9.0.")


def test_a_member_without_a_way_out_sees_the_host(cluster: Cluster) -> None:
    one, other = cluster.daemons
    one.create_network("plain", SUBNETS)
    cluster.wait_for_network("plain")
    with member_of(cluster, "plain", sees="the host: it has no way out"):
        for address in (one.host.vtep4, one.host.vtep6):
            with connect(other, address) as made:
                assert who(made)[0].startswith("10.9.0.")
                assert says_back(made, bytes(300_000))
            assert who_sent(other, address)[0][0].startswith("10.9.0.")
    wait_for(lambda: is_removed(one, "plain"), 20.0, "no host has a station in it any more")
