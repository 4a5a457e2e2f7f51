"""The demo's traffic and its ear on the wire, tried on Linux's own vxlan devices."""

import socket
from collections.abc import Iterator

import pytest

from tests.helpers.kernel import add_kernel_vtep
from vxnet.demo.bed import Bed
from vxnet.demo.capture import Capture
from vxnet.demo.station import Station
from vxnet.demo.traffic import exchange, ping, shout, transfer

pytestmark = pytest.mark.netns

VNI = 4711


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Station, Station]]:
    """Two stations on one kernel VXLAN, and nobody at their third address."""
    with Bed(hosts=2) as bed:
        first, second = (
            add_kernel_vtep(
                host,
                vni=VNI,
                remotes=[other.vtep4],
                ipv4=f"10.9.0.{host.number}/24",
                ipv6=f"fd00:9::{host.number}/64",
            )
            for host, other in (bed.hosts, reversed(bed.hosts))
        )
        yield first, second


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_a_transfer_has_the_same_digest_at_both_ends(
    pair: tuple[Station, Station], version: int
) -> None:
    first, second = pair
    done = transfer(first, second, second.addresses[version], 3_000_001)
    assert done.intact
    assert done.received_bytes == 3_000_001
    assert done.gigabits_per_second > 0


def test_datagrams_of_every_size_come_back(pair: tuple[Station, Station]) -> None:
    first, second = pair
    for address in second.addresses:
        assert exchange(first, second, address, [1, 1400, 8000]) == (3, 3)


def test_a_ping_tells_its_time_and_silence_is_none(pair: tuple[Station, Station]) -> None:
    first, second = pair
    assert ping(first, second.addresses[0]) is not None
    assert ping(first, "10.9.0.77", wait_s=1) is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_shout_is_heard_once(pair: tuple[Station, Station], family: int) -> None:
    first, second = pair
    assert shout(first, [second], family) == {second.label: 1}


def test_what_is_on_the_underlay_is_caught_and_read(pair: tuple[Station, Station]) -> None:
    first, second = pair
    with Capture(first.host, 4789) as capture:
        assert ping(first, second.addresses[0]) is not None
    requests = [s for s in capture.sightings() if "echo-request" in s.inner]
    assert len(requests) == 1
    assert requests[0].vni == VNI
    assert (requests[0].outer_source, requests[0].outer_target) == (
        first.host.vtep4,
        second.host.vtep4,
    )
    assert requests[0].inner_checksums_ok
    assert f"VNI {VNI}" in str(requests[0])
