"""Ways that swallow what is too large and say nothing: found, and streams go on."""

import hashlib
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, reaches
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.wire import tell_kernel_to_finish_packets
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.station import Station

pytestmark = pytest.mark.netns

HALF = 5_000_000
WITHIN_S = 60.0
FIRST, LATER = 9000, (1500, 1400, 1280)


@pytest.fixture(
    scope="module",
    params=itertools.product(DATAPATHS, (4, 6)),
    ids=lambda param: f"{param[0]}-over-ipv{param[1]}",
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two hosts whose devices say 9,000."""
    datapath, version = request.param
    with cluster_on(2, datapath=datapath, version=version, mtu=FIRST) as built:
        for host in built.bed.hosts:
            tell_kernel_to_finish_packets(host)
        built.daemons[0].create_network("blue", SUBNETS)
        built.wait_for_network("blue")
        yield built


def stream(
    source: Station, target: Station, address: str, amid: Callable[[], object]
) -> tuple[str, str]:
    """Send 10 MB, with something that happens amid; the digests at both ends."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        target.socket(family, socket.SOCK_STREAM) as listener,
        source.socket(family, socket.SOCK_STREAM) as sender,
        ThreadPoolExecutor(1) as pool,
    ):
        listener.settimeout(WITHIN_S)
        sender.settimeout(WITHIN_S)
        listener.bind((address, 0))
        listener.listen(1)
        receiving = pool.submit(_receive, listener)
        sender.connect((address, listener.getsockname()[1]))
        sent = hashlib.sha256()
        for step in (lambda: None, amid):
            step()
            octets = os.urandom(HALF)
            sent.update(octets)
            sender.sendall(octets)
        sender.shutdown(socket.SHUT_WR)
        return sent.hexdigest(), receiving.result()


def _receive(listener: socket.socket) -> str:
    digest = hashlib.sha256()
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(WITHIN_S)
        while octets := connection.recv(1 << 20):
            digest.update(octets)
    return digest.hexdigest()


def found(cluster: Cluster) -> set[int | None]:
    """What the hosts hold their ways to carry."""
    return {
        member.path_mtu
        for daemon in cluster.daemons
        for member in daemon.members()
        if not member.local
    }


@pytest.mark.conformance("M1", "M2", "M3")
def test_a_stream_goes_on_when_its_way_gets_narrower_without_a_word(cluster: Cluster) -> None:
    source, target = (daemon.attach("blue") for daemon in cluster.daemons)
    wait_for(lambda: found(cluster) == {FIRST}, 20.0, "the whole way is found")
    assert len(set(stream(source, target, target.addresses[0], lambda: None))) == 1

    for mtu in LATER:
        sent, received = stream(
            source, target, target.addresses[0], lambda mtu=mtu: cluster.bed.narrow(mtu)
        )
        assert sent == received
        wait_for(
            lambda mtu=mtu: all(one and mtu - 4 < one <= mtu for one in found(cluster)),
            10.0,
            f"the way is found to carry {mtu}",
        )
        # Who connects now never sends what would be swallowed, though IPv6 can be told nothing
        # below 1,280 octets.
        sent, received = stream(target, source, source.addresses[1], lambda: None)
        assert sent == received
    assert reaches(source, target)
