"""Inner checksums left to the receiver, between real daemons: offered, taken, and withdrawn."""

from collections.abc import Iterator

import pytest

from tests.helpers.clusters import cluster_on, reaches
from tests.helpers.datapaths import DATAPATHS
from vxnet.demo.capture import Capture
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import transfer

pytestmark = pytest.mark.netns

OCTETS = 3_000_000
LEFT, PLAIN = b"\x08\x20", b"\x08\x00"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts with the datapath that offers it."""
    datapath = next(kind for kind in DATAPATHS if kind != "pure")
    with cluster_on(2, datapath=datapath, network="blue") as built:
        yield built


@pytest.fixture(scope="module")
def stations(cluster: Cluster) -> tuple[Station, Station]:
    near, far = (daemon.attach("blue") for daemon in cluster.daemons)
    assert reaches(near, far)
    return near, far


def headers(cluster: Cluster, near: Station, far: Station) -> set[bytes]:
    """How the VXLAN headers of a transfer's packets begin."""
    with Capture(near.host, cluster.port) as capture:
        assert transfer(near, far, far.addresses[0], OCTETS).intact
    # Ethernet, IPv4 and UDP before it. What the sender cut itself is complete, however long it is.
    return {packet[42:44] for packet in capture.packets() if len(packet) > 1_400}


def test_it_is_left_out_where_both_say_so_and_no_longer_when_one_stops(
    cluster: Cluster, stations: tuple[Station, Station]
) -> None:
    near, far = stations
    assert LEFT in headers(cluster, near, far)

    taker = cluster.daemons[1]
    settings = taker.config.read_text()
    taker.config.write_text(settings.replace("[vxlan]\n", "[vxlan]\nremote_checksum = false\n"))
    taker.stop()
    taker.start()
    taker.wait_until_ready()
    wait_for(lambda: reaches(near, far), 30, "the other host is there again")
    wait_for(lambda: headers(cluster, near, far) == {PLAIN}, 30, "nothing is left out any more")
    # The other still offers it; who does not offer does not use it.
    assert headers(cluster, far, near) == {PLAIN}
