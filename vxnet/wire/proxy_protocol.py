"""The PROXY protocol, version 2: what tells a server who its client is, before anything else.

haproxy's proxy-protocol.txt, section 2.2.
"""

import ipaddress
from struct import Struct
from typing import Final

from vxnet.wire.ip import Protocol

__all__ = ["SIGNATURE", "header"]

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = Struct("!12sBBH")
_PORTS = Struct("!HH")
_VERSION_2_PROXY: Final = 0x21
_FAMILY: Final = {4: 0x10, 6: 0x20}
_TRANSPORT: Final = {Protocol.TCP: 0x01, Protocol.UDP: 0x02}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def header(
    source: tuple[_Address, int], target: tuple[_Address, int], protocol: Protocol = Protocol.TCP
) -> bytes:
    """What goes before the first octet of a connection, or before each datagram.

    Addresses of both versions are told as two of IPv6.
    """
    (client, client_port), (server, server_port) = source, target
    if client.version != server.version:
        client, server = _mapped(client), _mapped(server)
    kind = _FAMILY[client.version] | _TRANSPORT[protocol]
    told = client.packed + server.packed + _PORTS.pack(client_port, server_port)
    return _HEAD.pack(SIGNATURE, _VERSION_2_PROXY, kind, len(told)) + told


def _mapped(address: _Address) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(bytes(10) + b"\xff\xff" + address.packed)
