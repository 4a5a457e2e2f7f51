"""The daemon's relay by itself: `relay.py MEMBER PORT...` passes on what comes to these ports."""

import asyncio
import ipaddress
import socket
import sys
from collections import Counter
from collections.abc import Collection

import uvloop

from vxnet.cnm.model import IpAddress
from vxnet.relays.base import Bound, Target
from vxnet.relays.sources import Sources
from vxnet.relays.streams import StreamRelay

__all__ = ["relay"]


async def relay(member: IpAddress, ports: list[int]) -> None:
    """Pass on until cancelled, each port to the member's same one, as the client."""
    bound, sources = Bound(), Sources()
    for port in ports:

        def choose(
            _held: Counter[bytes], _tried: Collection[bytes], _client: IpAddress, port: int = port
        ) -> Target:
            return Target(b"member", member, port, shows_client=True)

        await StreamRelay(port, choose, _make_socket, bound, sources).open()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _make_socket(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


if __name__ == "__main__":
    uvloop.run(relay(ipaddress.ip_address(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
