"""Datagrams that wait at a connected socket, whose other end may say that nobody is there."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["arrivals"]

BATCH: Final = 64
DATAGRAM_BYTES_MAX: Final = 65_535


def arrivals(via: socket.socket, ready: Callable[[], None]) -> Iterator[bytes]:
    """A batch of them; for `ready`, which the event loop calls when the socket can be read.

    Raises OSError for what ICMP told. After an error, which a send may have been told instead,
    libuv watches a socket no longer, and uvloop does not say so: it is watched again.
    """
    for number in range(BATCH):
        try:
            datagram = via.recv(DATAGRAM_BYTES_MAX)
        except BlockingIOError:
            if number == 0:
                _watch_again(via, ready)
            return
        except OSError:
            _watch_again(via, ready)
            raise
        yield datagram


def _watch_again(via: socket.socket, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.remove_reader(via)
    loop.add_reader(via, ready)
