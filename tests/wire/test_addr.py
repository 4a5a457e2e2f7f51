"""Addresses, from text and back, against the standard library."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.errors import WireError
from vxnet.wire.addr import (
    BROADCAST,
    VNI_MAX,
    Ip,
    Vtep,
    format_ip,
    format_mac,
    is_group,
    parse_ip,
    parse_mac,
    parse_vni,
)


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_is_read_as_it_is_written(mac: bytes) -> None:
    assert parse_mac(format_mac(mac)) == mac
    assert parse_mac(mac.hex("-").upper()) == mac


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:00:00",
        "2:0:0:0:0:0",
        "02:00:00:00:00:0g",
        "020000000000",
    ],
)
def test_what_is_no_mac_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(WireError, match=f"{text!r} is not a MAC address; write it like"):
        parse_mac(text)


@given(st.ip_addresses())
def test_an_ip_is_read_as_it_is_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert parse_ip(str(address)) == address.packed
    assert format_ip(address.packed) == str(address)


@pytest.mark.parametrize("text", ["", "10.9.0", "10.9.0.256", "fd09::g", "10.9.0.1/24"])
def test_what_is_no_ip_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(WireError, match=f"{text!r} is not an IP address"):
        parse_ip(text)


def test_an_ip_of_another_size_cannot_be_written() -> None:
    with pytest.raises(WireError, match="of 5 octets; 4 or 16"):
        format_ip(bytes(5))


@pytest.mark.conformance("X5")
@pytest.mark.parametrize("value", [0, 1, VNI_MAX])
def test_a_vni_has_24_bits(value: int) -> None:
    assert parse_vni(value) == value


@pytest.mark.conformance("X5")
@pytest.mark.parametrize("value", [-1, VNI_MAX + 1])
def test_no_vni_has_more(value: int) -> None:
    with pytest.raises(WireError, match=f"VNI {value} is out of range; it is 0 to 16777215"):
        parse_vni(value)


def test_broadcast_and_multicast_are_groups() -> None:
    assert is_group(BROADCAST)
    assert is_group(parse_mac("33:33:00:00:00:01"))
    assert not is_group(parse_mac("02:00:00:00:00:01"))


def test_a_vtep_reads_like_an_address_with_its_port() -> None:
    assert str(Vtep(parse_ip("192.0.2.1"), 4789)) == "192.0.2.1:4789"
    assert str(Vtep(Ip(parse_ip("2001:db8::1")), 4789)) == "[2001:db8::1]:4789"
