"""The catalogue: whatever order hosts hear each other in, they end with the same networks."""

import contextlib
import ipaddress
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxnet.cnm.catalogue import BODY_BYTES_MAX, Catalogue, Description, describe
from vxnet.cnm.model import Network, NetworkId, Subnet
from vxnet.errors import StateError, WireError
from vxnet.wire.addr import Vni


def network(name: str = "blue", vni: int = 5000, **more: object) -> Network:
    return Network(NetworkId(""), name, "overlay", 1450, Vni(vni), **more)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(1, 25))
def test_hosts_agree_at_rest_whatever_they_did_apart(seed: int, hosts: int, steps: int) -> None:
    random = Random(seed)
    catalogues = [Catalogue() for _ in range(hosts)]

    def exchange(one: int, other: int) -> None:
        for name, body in catalogues[one].publications().items():
            catalogues[other].hear(body, one)
            assert catalogues[other].winner(name) is not None

    for step in range(steps):
        one, other = random.sample(range(hosts), 2)
        catalogue, name = catalogues[one], random.choice(["blue", "green"])
        match random.randrange(4):
            case 0 if catalogue.get(name) is None:
                vni = random.choice([5000, 5001])
                catalogue.create(network(name, vni), now_ms=step + random.randrange(3))
            case 1 if catalogue.get(name) is not None:
                catalogue.remove(name, now_ms=step)
            case _:
                exchange(one, other)

    for _ in range(hosts + 2):
        for catalogue in catalogues:
            for name in catalogue.vni_losers():
                if catalogue.owns(name):
                    catalogue.revise(name, catalogue.free_vni(name), now_ms=steps)
        for one in range(hosts):
            for other in range(hosts):
                if one != other:
                    exchange(one, other)

    first = list(catalogues[0])
    assert all(list(catalogue) == first for catalogue in catalogues)
    vnis = [n.vni for n in first]
    assert len(set(vnis)) == len(vnis)


def test_a_removal_is_not_undone_by_a_host_that_slept_through_it() -> None:
    awake, asleep = Catalogue(), Catalogue()
    awake.create(network(), now_ms=1)
    asleep.hear(awake.publications()["blue"], 1)
    asleep.adopt("blue")
    awake.remove("blue", now_ms=2)
    awake.hear(asleep.publications()["blue"], 2)
    assert list(awake) == []
    asleep.hear(awake.publications()["blue"], 1)
    assert list(asleep) == []
    assert asleep.superseded() == ["blue"]


def test_a_vni_follows_from_the_name() -> None:
    assert Catalogue().free_vni("blue") == Catalogue().free_vni("blue")
    assert Catalogue().free_vni("blue") != Catalogue().free_vni("green")


def test_a_taken_vni_is_passed_over() -> None:
    catalogue = Catalogue()
    wanted = catalogue.free_vni("blue")
    catalogue.create(network("green", wanted), now_ms=1)
    assert catalogue.free_vni("blue") != wanted
    assert catalogue.holder_of(wanted) == "green"


def test_a_name_without_a_publisher_is_an_orphan_until_adopted() -> None:
    one, other = Catalogue(), Catalogue()
    one.create(network(), now_ms=1)
    other.hear(one.publications()["blue"], 1)
    assert other.orphans() == []
    other.unhear("blue", 1)
    assert other.orphans() == ["blue"]
    other.adopt("blue")
    assert other.orphans() == []
    assert other.publications() == one.publications()


def test_removals_are_remembered_for_a_month() -> None:
    catalogue = Catalogue()
    catalogue.create(network(), now_ms=1)
    catalogue.remove("blue", now_ms=2)
    month_ms = 30 * 24 * 3600 * 1000
    assert catalogue.expired(month_ms) == []
    assert catalogue.expired(month_ms + 3) == ["blue"]
    catalogue.forget("blue")
    assert catalogue.winner("blue") is None


def test_a_network_too_long_for_a_packet_is_refused() -> None:
    with pytest.raises(StateError, match=f"at most {BODY_BYTES_MAX} travel"):
        describe(network(options={"x": "y" * BODY_BYTES_MAX}), generation=1, now_ms=1)


def test_what_is_described_comes_back_whole() -> None:
    subnet = Subnet(ipaddress.ip_network("10.9.0.0/24"), ipaddress.ip_address("10.9.0.1"))
    bare = Subnet(ipaddress.ip_network("fd09::/64"))
    catalogue = Catalogue()
    made = catalogue.create(network(subnets=(subnet, bare), options={"vlan": "drop"}), now_ms=1)
    other = Catalogue()
    other.hear(catalogue.publications()["blue"], 1)
    assert other.get("blue") == made


BROKEN = [
    b"",
    b"\xc1",
    msgspec.msgpack.encode([]),
    msgspec.msgpack.encode(Description("", 1, False, 0, 1, mtu=1450)),
    msgspec.msgpack.encode(Description("x" * 65, 1, False, 0, 1, mtu=1450)),
    msgspec.msgpack.encode(Description("a\nb", 1, False, 0, 1, mtu=1450)),
    msgspec.msgpack.encode(Description("x", 1, False, 0, 1, vni=2**24, mtu=1450)),
    msgspec.msgpack.encode(Description("x", 1, False, 0, 1, mtu=0)),
    msgspec.msgpack.encode(Description("x", 1, False, 0, 1, mtu=1450, subnets=(("ten", ""),))),
    msgspec.msgpack.encode(
        Description("x", 1, False, 0, 1, mtu=1450, subnets=(("10.0.0.0/8", "x"),))
    ),
]


@pytest.mark.parametrize("body", BROKEN)
def test_what_no_vxnet_would_publish_is_refused(body: bytes) -> None:
    catalogue = Catalogue()
    with pytest.raises(WireError):
        catalogue.hear(body, 1)
    assert list(catalogue) == []


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_octets_raise_anything_else(body: bytes) -> None:
    with contextlib.suppress(WireError):
        Catalogue().hear(body, 1)
