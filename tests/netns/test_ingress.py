"""Published ports on real devices: any host's leads to members on any, over both datapaths."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.helpers.clusters import cluster_on, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.api.model import AttachBody, EndpointBody, JoinBody, ServiceBody
from vxnet.demo.cluster import Cluster, Daemon, wait_for

pytestmark = pytest.mark.netns

SERVER = """
import socket, sys, threading
name = sys.argv[1].encode()
stream = socket.create_server(("", 8080))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 5353))
def echo():
    while True:
        data, client = datagrams.recvfrom(2048)
        datagrams.sendto(name + b" " + data, client)
def talk(connection):
    while data := connection.recv(65536):
        connection.sendall(name + b" " + data)
threading.Thread(target=echo, daemon=True).start()
print("there", flush=True)
while True:
    threading.Thread(target=talk, args=(stream.accept()[0],), daemon=True).start()
"""


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts; the members are all on the second."""
    with cluster_on(2, datapath=request.param, network="blue") as built:
        for name in ("m0", "m1"):
            add_member(built.daemons[1], name)
        yield built


def add_member(daemon: Daemon, name: str) -> None:
    sandbox = daemon.host.sandbox(name)
    server = sandbox.popen([sys.executable, "-c", SERVER, name], stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server.stdout as said:
        assert said.readline() == b"there\n"
    body = EndpointBody("blue", name=name, services=("shop", "near"))
    daemon.client.attach(AttachBody(body, JoinBody("netns", sandbox.name)))


def open_at(daemon: Daemon, service: str, members: int = 0) -> bool:
    view = daemon.client.service(service)
    return len(view.members) >= members and all(port.state == "open" for port in view.published)


def is_unused(daemon: Daemon, service: str) -> bool:
    return not any(port.connections for port in daemon.client.service(service).published)


def connect(asker: Daemon, asked: Daemon, port: int) -> socket.socket:
    made = asker.host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    made.settimeout(20.0)
    try:
        made.connect((asked.vtep, port))
    except BaseException:
        made.close()
        raise
    return made


def hear(made: socket.socket, text: bytes) -> str:
    """Which member answers."""
    made.sendall(text)
    name, _, echoed = made.recv(100).partition(b" ")
    assert echoed == text
    return name.decode()


def test_every_hosts_port_leads_to_members_until_they_and_the_service_go(cluster: Cluster) -> None:
    one, other = cluster.daemons
    body = ServiceBody(
        "shop", "blue", ports=("80:8080", "53:5353/udp"), publish=("8081:80", "8053/udp")
    )
    one.client.create_service(body)
    for daemon in cluster.daemons:
        wait_for(lambda d=daemon: open_at(d, "shop", 2), 20.0, "the ports are open")  # type: ignore[misc]
    for asker, asked in ((one, other), (other, one), (one, one)):
        held = [connect(asker, asked, 8081) for _ in range(4)]
        assert sorted(hear(made, b"hello") for made in held) == ["m0", "m0", "m1", "m1"]
        for made in held:
            made.close()
        # Those that end are counted until the relay has seen it.
        wait_for(lambda d=asked: is_unused(d, "shop"), 20.0, "all have ended")  # type: ignore[misc]
    with other.host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(20.0)
        asking.connect((one.vtep, 8053))
        names = set()
        for number in range(5):
            asking.send(b"%d" % number)
            names.add(asking.recv(100).split()[0])
        assert len(names) == 1

    shown = vxnet(one, "service", "inspect", "shop")
    assert "8081:80/tcp" in shown.stdout
    assert "open" in shown.stdout
    held = [connect(one, one, 8081) for _ in range(2)]
    named = {hear(made, b"hello"): made for made in held}
    other.client.remove_endpoint("m0")
    with pytest.raises(ConnectionResetError):
        named["m0"].recv(1)
    assert hear(named["m1"], b"still there") == "m1"
    for made in held:
        made.close()
    add_member(other, "m2")
    wait_for(lambda: "m2" in ask_often(one, 8081), 20.0, "the new member is asked too")

    refused = vxnet(one, "network", "rm", "blue")
    assert refused.returncode == 1
    assert "shop" in refused.stderr
    one.client.remove_service("shop")
    for daemon in cluster.daemons:
        wait_for(lambda d=daemon: not takes(d, 8081), 20.0, "the port is closed")  # type: ignore[misc]


def test_a_port_of_mode_host_is_open_where_members_are(cluster: Cluster) -> None:
    one, other = cluster.daemons
    body = ServiceBody(
        "near", "blue", ports=("80:8080",), publish=("8082:80",), publish_mode="host"
    )
    one.client.create_service(body)
    wait_for(lambda: takes(other, 8082), 20.0, "the port is open where members are")
    assert not takes(one, 8082)
    one.client.remove_service("near")


def test_a_port_that_is_taken_is_said_to_be_and_opened_when_it_is_free(cluster: Cluster) -> None:
    one, other = cluster.daemons
    with one.host.inside(lambda: socket.create_server(("", 8083))):
        other.client.create_service(
            ServiceBody("late", "blue", ports=("80:8080",), publish=("8083:80",))
        )
        wait_for(lambda: takes(other, 8083), 20.0, "the port is open on the other host")
        wait_for(
            lambda: any("in use" in p.state for s in one.client.services() for p in s.published),
            20.0,
            "the host with the port taken says so",
        )
    wait_for(lambda: open_at(one, "late"), 30.0, "the port is open once it is free")
    other.client.remove_service("late")


def test_what_does_not_fit_is_refused_in_a_sentence(cluster: Cluster) -> None:
    one = cluster.daemons[0]
    make = ("service", "create", "bad", "--network", "blue", "--port", "80:8080")
    for options, said in (
        (("--publish", "0:80"), "is no published port"),
        (("--publish", "8080:81"), "has no port 81/tcp to publish"),
        (("--publish", "8080/udp"), "say which port"),
        (("--publish", "8080", "--publish", "8081"), "published twice"),
        (("--publish", "8080", "--publish-mode", "all"), "is no publish mode"),
        (("--proxy-protocol", "v2"), "there is none"),
        (("--publish", "8080", "--proxy-protocol", "v1"), "is no PROXY protocol"),
    ):
        done = vxnet(one, *make, *options)
        assert done.returncode in (1, 2), done.stdout
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def ask_often(daemon: Daemon, port: int) -> set[str]:
    held = [connect(daemon, daemon, port) for _ in range(4)]
    names = {hear(made, b"hello") for made in held}
    for made in held:
        made.close()
    return names


def takes(daemon: Daemon, port: int) -> bool:
    """Whether somebody listens there; without members, who is taken in is sent off at once."""
    try:
        connect(daemon, daemon, port).close()
    except ConnectionRefusedError:
        time.sleep(0.1)
        return False
    except ConnectionResetError:
        return True
    return True
