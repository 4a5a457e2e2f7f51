"""Names on real devices: asked from sandboxes, over both datapaths, while hosts come and go."""

import socket
import threading
import time
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.helpers.clusters import cluster_on
from tests.helpers.datapaths import DATAPATHS
from vxnet.demo.cluster import VXNET, Cluster, wait_for
from vxnet.demo.station import Station

pytestmark = pytest.mark.netns

RESOLVERS = ("10.9.0.254", "fd00:9::ffff:ffff:ffff:ffff")
UPSTREAM = '[dns]\nupstream = ["192.0.2.1:5353"]\n'


@pytest.fixture(scope="module", params=DATAPATHS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster_on(2, datapath=request.param, settings=UPSTREAM, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def stations(cluster: Cluster) -> list[Station]:
    found = [daemon.attach("blue", name="web") for daemon in cluster.daemons]
    for one, other in ((0, 1), (1, 0)):
        wait_for(
            lambda one=one, other=other: bool(  # type: ignore[misc]
                addresses(found[one], found[other].sandbox.name)
            ),
            20.0,
            "a name of the other host is known",
        )
    return found


def ask(
    station: Station, name: str, kind: str = "A", at: str = RESOLVERS[0], *, tcp: bool = False
) -> dns.message.Message:
    question = dns.message.make_query(name, kind, use_edns=0)
    how = dns.query.tcp if tcp else dns.query.udp
    return station.sandbox.inside(lambda: how(question, at, timeout=10.0))


def addresses(station: Station, name: str, kind: str = "A") -> list[str]:
    wanted = dns.rdatatype.from_text(kind)
    answer = ask(station, name, kind)
    return [str(one) for rrset in answer.answer if rrset.rdtype == wanted for one in rrset]


@pytest.mark.parametrize("at", RESOLVERS)
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_every_host_answers_for_the_names_of_all(
    stations: list[Station], at: str, tcp: bool
) -> None:
    for asker in stations:
        for named in stations:
            answer = ask(asker, f"{named.sandbox.name}.blue", "AAAA", at, tcp=tcp)
            assert str(answer.answer[0][0]) == named.addresses[1]
        assert ask(asker, "nobody.blue", at=at, tcp=tcp).rcode() == dns.rcode.NXDOMAIN


def test_a_plain_sandbox_is_told_whom_to_ask(cluster: Cluster, stations: list[Station]) -> None:
    name = stations[1].sandbox.name
    script = f"import socket; print(socket.getaddrinfo({name!r}, 80)[0][4][0])"
    done = cluster.daemons[0].host.run(
        ["ip", "netns", "exec", stations[0].sandbox.name, "python3", "-c", script], check=False
    )
    assert done.stdout.strip() in stations[1].addresses, done.stderr
    command = ["exec", "--socket", cluster.daemons[0].socket, stations[0].sandbox.name, "--"]
    done = cluster.daemons[0].host.run([*VXNET, *command, "python3", "-c", script], check=False)
    assert done.stdout.strip() in stations[1].addresses, done.stderr


def test_no_local_name_fails_while_500_questions_wait_upstream(
    cluster: Cluster, stations: list[Station]
) -> None:
    host, station = cluster.daemons[0].host, stations[0]
    mute = host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client = station.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with mute, client:
        mute.bind(("192.0.2.1", 5353))
        client.connect((RESOLVERS[0], 53))
        client.settimeout(10.0)
        for number in range(500):
            client.send(dns.message.make_query(f"n{number}.example.org", "A").to_wire())
        packet = dns.message.make_query(f"{stations[1].sandbox.name}", "A").to_wire()
        answered = 0
        begun = time.monotonic()
        for number in range(2_000):
            client.send(number.to_bytes(2) + packet[2:])
            while (answer := client.recv(2_000)) and len(answer) and answer[3] & 0xF:
                pass  # what upstream did not answer in time
            assert answer[:2] == number.to_bytes(2)
            answered += 1
        took = time.monotonic() - begun
        counted = cluster.daemons[0].client.stats().control
    print(f"{answered} names in {took:.2f} s")
    assert answered == 2_000
    assert counted["dns_forwarded"] >= 500


def test_other_names_are_passed_on_and_kept(cluster: Cluster, stations: list[Station]) -> None:
    counted = cluster.daemons[0].client.stats
    wait_for(
        lambda: not counted().control["dns_outstanding"], 60, "the flood before this is answered"
    )
    asked: list[str] = []
    server = cluster.daemons[0].host.inside(
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    )
    server.bind(("192.0.2.1", 5353))
    server.settimeout(0.2)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                packet, client = server.recvfrom(2_000)
            except TimeoutError:
                continue
            question = dns.message.from_wire(packet)
            asked.append(str(question.question[0].name))
            answer = dns.message.make_response(question)
            name = question.question[0].name
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.77"))
            wire = answer.to_wire()
            server.sendto(
                (int.from_bytes(wire[:2]) ^ 1).to_bytes(2) + wire[2:], client
            )  # a forgery
            server.sendto(wire, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert addresses(stations[0], "kept.example.org") == ["192.0.2.77"]
        kept = cluster.daemons[0].client.stats().control.get("dns_cached", 0)
        assert addresses(stations[0], "kept.example.org") == ["192.0.2.77"]
        assert cluster.daemons[0].client.stats().control["dns_cached"] > kept
        assert "kept.example.org." in asked
    finally:
        over.set()
        thread.join()
        server.close()
    assert cluster.daemons[0].client.stats().control["dns_spoofed"] >= 1


def test_packets_no_client_sends_are_dropped_and_counted(
    cluster: Cluster, stations: list[Station]
) -> None:
    good = dns.message.make_query("web", "A").to_wire()
    bad = {
        "dns_malformed": good[:15],
        "dns_compressed": good[:12] + b"\xc0\x0c\0\1\0\1",
        "dns_looped": good[:2] + b"\x81\x80" + good[4:],
        "dns_oversized": good + bytes(1_300),
    }
    before = cluster.daemons[0].client.stats().control
    with stations[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((RESOLVERS[0], 53))
        for packet in bad.values():
            client.send(packet)

    def all_counted() -> bool:
        counted = cluster.daemons[0].client.stats().control
        return all(counted.get(name, 0) == before.get(name, 0) + 1 for name in bad)

    wait_for(all_counted, 10.0, "all bad packets are counted")


def test_names_go_with_their_host_and_come_back_with_it(
    cluster: Cluster, stations: list[Station]
) -> None:
    asker, named = stations[0], stations[1].sandbox.name
    bed, (first, second) = cluster.bed, cluster.daemons
    bed.partition([first.host], [second.host])
    try:
        wait_for(
            lambda: any(m.state == "dead" for m in first.members()), 60.0, "the other one is dead"
        )
        gone = wait_for(
            lambda: ask(asker, f"{named}.blue").rcode() == dns.rcode.NXDOMAIN,
            5.0,
            "its name is gone",
        )
    finally:
        bed.heal()
    wait_for(
        lambda: any(m.state == "alive" and not m.local for m in first.members()), 60.0, "they met"
    )
    back = wait_for(lambda: bool(addresses(asker, f"{named}.blue")), 5.0, "its name is back")
    print(f"gone {gone:.2f} s after the host, back {back:.2f} s after it")
