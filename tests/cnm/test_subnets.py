"""Choices of subnets and addresses."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxnet.cnm.model import EndpointId, Network, NetworkId, Subnet, derive_mac
from vxnet.cnm.subnets import bounds, choose_subnets, overlap, place_address
from vxnet.errors import StateError


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.lists(st.integers(0, 2047), max_size=40))
def test_a_chosen_subnet_overlaps_none_that_is_taken(name: str, slots: list[int]) -> None:
    base = int(ipaddress.IPv4Address("10.128.0.0"))
    taken = [ipaddress.IPv4Network((base + slot * 4096, 20)) for slot in slots]
    chosen = choose_subnets(name, taken)
    assert [s.prefix.version for s in chosen] == [4, 6]
    assert not any(overlap(s.prefix, t) for s in chosen for t in taken)
    assert chosen == choose_subnets(name, reversed(taken))


def test_a_route_over_the_whole_pool_leaves_nothing_to_choose() -> None:
    with pytest.raises(StateError, match="no subnet is left for network x; choose one with"):
        choose_subnets("x", [ipaddress.ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(
    ("prefix", "first", "last"),
    [
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1"),
        ("10.0.0.0/32", "10.0.0.0", "10.0.0.0"),
        ("fd00::/126", "fd00::1", "fd00::3"),
        ("fd00::/127", "fd00::", "fd00::1"),
    ],
)
def test_a_subnets_own_addresses_are_for_nobody(prefix: str, first: str, last: str) -> None:
    network = ipaddress.ip_network(prefix)
    begin, end = bounds(network)
    assert str(network.network_address + begin) == first
    assert str(network.network_address + end) == last


def test_a_requested_address_takes_its_subnets_length() -> None:
    subnets = (
        Subnet(ipaddress.ip_network("10.0.0.0/24")),
        Subnet(ipaddress.ip_network("fd00::/64")),
    )
    network = Network(NetworkId(""), "x", "overlay", 1450, subnets=subnets)
    assert str(place_address(network, ipaddress.ip_address("10.0.0.7"))) == "10.0.0.7/24"
    assert str(place_address(network, ipaddress.ip_address("fd00::7"))) == "fd00::7/64"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_derived_mac_is_unicast_and_locally_administered(network: str, endpoint: str) -> None:
    mac = derive_mac(NetworkId(network), EndpointId(endpoint))
    assert len(mac) == 6
    assert mac[0] & 0b11 == 0b10
    assert mac == derive_mac(NetworkId(network), EndpointId(endpoint))
