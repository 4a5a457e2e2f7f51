"""Services on real devices: one address, several members on several hosts, over both datapaths."""

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.clusters import cluster_on, vxnet
from tests.helpers.datapaths import DATAPATHS
from vxnet.api.model import AttachBody, EndpointBody, JoinBody, ServiceBody
from vxnet.demo.cluster import Cluster, Daemon, wait_for

pytestmark = pytest.mark.netns

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{sys.argv[1]} {self.client_address[0]}".encode() + bytes(int(sys.argv[2]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


class Member:
    """A sandbox with a web server that tells its own name, and who asked."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.daemon = daemon
        self.sandbox = daemon.host.sandbox(name)
        self.process = self.sandbox.popen([sys.executable, "-c", SERVER, name, "100000"])
        body = EndpointBody("blue", name=name, services=("shop",))
        daemon.client.attach(AttachBody(body, JoinBody("netns", self.sandbox.name)))


class Shop:
    """Two hosts, a member on the first and two on the second, and a client on the first."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        one, other = cluster.daemons
        body = ServiceBody("shop", "blue", ports=("80:8080", "53:5353/udp"), health="http:/")
        self.vip = one.client.create_service(body).vips[0]
        self.client = one.attach("blue", name="client")
        self.members = [Member(one, "m0"), Member(other, "m1"), Member(other, "m2")]
        wait_for(lambda: self.healthy() == {"m0", "m1", "m2"}, 30.0, "all members are healthy")

    def healthy(self) -> set[str]:
        view = self.cluster.daemons[0].client.service("shop")
        return {member.endpoint for member in view.members if member.serving == "healthy"}

    def connect(self) -> socket.socket:
        made = self.client.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(20.0)
        made.connect((self.vip, 80))
        return made

    def ask(self, made: socket.socket) -> tuple[str, str]:
        """Which member answers, and whom it sees."""
        made.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more(made)
        head, _, body = answer.partition(b"\r\n\r\n")
        size = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        while len(body) < size:
            body += self._more(made)
        name, address = body.rstrip(b"\0").decode().split()
        return name, address

    @staticmethod
    def _more(made: socket.socket) -> bytes:
        more = made.recv(65_536)
        if not more:
            raise ConnectionResetError
        return more


@pytest.fixture(scope="module", params=DATAPATHS)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with cluster_on(2, datapath=request.param, network="blue") as built:
        yield Shop(built)


def test_every_host_tells_the_same_of_a_service(shop: Shop) -> None:
    def told() -> bool:
        views = [daemon.client.service("shop") for daemon in shop.cluster.daemons]
        return [(v.vips, v.ports, {m.endpoint for m in v.members}) for v in views] == [
            ((shop.vip, *views[0].vips[1:]), ("80:8080/tcp", "53:5353/udp"), {"m0", "m1", "m2"})
        ] * 2

    wait_for(told, 20.0, "both hosts tell the same")
    shown = vxnet(shop.cluster.daemons[1], "service", "inspect", "shop")
    assert "healthy" in shown.stdout, shown.stderr
    listed = vxnet(shop.cluster.daemons[1], "service", "ls", "--json")
    assert json.loads(listed.stdout)[0]["name"] == "shop"
    named = vxnet(shop.cluster.daemons[1], "dns", "shop", "--json")
    assert json.loads(named.stdout)["addresses"][0] == shop.vip


def test_connections_reach_every_member_and_show_it_the_client(shop: Shop) -> None:
    seen: Counter[str] = Counter()
    for _ in range(30):
        with shop.connect() as made:
            for _ in range(2):
                name, client = shop.ask(made)
                assert client == str(shop.client.ipv4.ip)
            seen[name] += 1
    assert set(seen) == {"m0", "m1", "m2"}
    view = shop.cluster.daemons[0].client.service("shop")
    assert sum(member.flows for member in view.members) >= 30
    assert sum(member.begun for member in view.members) >= 30


def test_flows_that_begin_in_a_second_are_told(shop: Shop) -> None:
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            shop.connect().close()
            time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_and_go)
        done = vxnet(shop.cluster.daemons[0], "service", "inspect", "shop", "--rates", "--json")
        shown = vxnet(shop.cluster.daemons[0], "service", "inspect", "shop", "--rates")
        ended.set()
        coming.result()
    told = json.loads(done.stdout)
    rates = told["flows_per_s"]
    assert set(rates) == {member["endpoint"] for member in told["service"]["members"]}
    assert 0 < sum(rates.values()) < sum(member["begun"] for member in told["service"]["members"])
    assert "A SECOND" in shown.stdout, shown.stderr


def test_settled_connections_take_no_more_decisions(shop: Shop) -> None:
    one = shop.cluster.daemons[0]

    def decided() -> int:
        return one.client.stats().io.get("punts", 0)

    with shop.connect() as made:
        shop.ask(made)
        before, answered = decided(), 100
        for _ in range(answered):
            shop.ask(made)
        # What hosts ask each other about neighbours meanwhile is some; a pure one counts none.
        assert decided() - before < answered


def test_a_member_that_goes_is_drained_first_if_wanted_then_it_is_reset_and_the_next_finds_another(
    shop: Shop,
) -> None:
    held = [shop.connect() for _ in range(12)]
    names = [shop.ask(made)[0] for made in held]
    gone = "m2"
    assert {gone} < set(names)
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(vxnet, shop.cluster.daemons[1], "detach", gone, "--drain", "8")
        wait_for(lambda: shop.healthy() == {"m0", "m1"}, 20.0, "nothing new goes to it")
        for made, name in zip(held, names, strict=True):
            assert shop.ask(made)[0] == name
        for _ in range(6):
            with shop.connect() as made:
                assert shop.ask(made)[0] != gone
        assert going.result().returncode == 0
    for made, name in zip(held, names, strict=True):
        made.settimeout(10.0)
        if name == gone:
            with pytest.raises(ConnectionResetError):
                made.recv(1)
        else:
            assert shop.ask(made)[0] == name
        made.close()
    for _ in range(12):
        with shop.connect() as made:
            assert shop.ask(made)[0] != gone


def test_a_member_that_fails_its_checks_gets_nothing_new(shop: Shop) -> None:
    shop.members[1].process.kill()
    shop.members[1].process.wait()
    wait_for(lambda: shop.healthy() == {"m0"}, 30.0, "the member is failing")
    for _ in range(6):
        with shop.connect() as made:
            assert shop.ask(made)[0] == "m0"
