"""Addresses as sockets have them and as the gossip has them."""

import socket
from functools import lru_cache

from vxnet.gossip.member import Address
from vxnet.wire.addr import Ip

__all__ = ["from_socket", "to_socket"]


@lru_cache(maxsize=16_384)
def to_socket(address: Address) -> tuple[str, int]:
    """The host and port that a socket takes."""
    family = socket.AF_INET if len(address.ip) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address.ip), address.port


@lru_cache(maxsize=16_384)
def from_socket(host: str, port: int) -> Address:
    """The address behind what a socket says, without its zone."""
    host = host.partition("%")[0]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Address(Ip(socket.inet_pton(family, host)), port)
