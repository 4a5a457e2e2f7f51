"""Hears of changes to devices inside sandboxes, without keeping the sandboxes alive.

A socket inside a sandbox would hold its namespace after everybody else left it. One on the host
hears of every namespace that has a number here (netlink's NETLINK_LISTEN_ALL_NSID), and a number
holds nothing.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from pyroute2.netlink.exceptions import NetlinkError

from vxnet.cnm.model import OWN_NAMESPACE
from vxnet.errors import HostError
from vxnet.host.namespace import identity_of, open_namespace, run_inside
from vxnet.host.netlink import netlink

__all__ = ["NetlinkWatch"]

SOL_NETLINK: Final = 270  # linux/netlink.h, here and below
NETLINK_ADD_MEMBERSHIP: Final = 1
NETLINK_LISTEN_ALL_NSID: Final = 8
RTNLGRP_LINK, RTNLGRP_NSID = 1, 28  # linux/rtnetlink.h
RECEIVE_BYTES: Final = 65_536
BATCH: Final = 64
RTM_DELNSID: Final = 89
OWN: Final = -1
NSID: Final = struct.Struct("i")
GONE: Final = struct.Struct("4xH10x4x4xi")
"""A message's type, and the number in its only attribute: nlmsghdr, rtgenmsg, nlattr, s32."""


class NetlinkWatch:
    """Calls its listeners with the path of each sandbox in which something changed."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []
        self._socket: socket.socket | None = None
        self._paths: dict[int, str] = {}

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Have changes told, from the event loop."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Open the socket. Raises HostError where the system refuses."""
        opened = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        try:
            opened.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
            opened.bind((0, 0))
            for group in (RTNLGRP_LINK, RTNLGRP_NSID):
                opened.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            opened.close()
            raise HostError(f"changes of devices cannot be followed: {error.strerror}") from None
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened.fileno(), self._drain)

    def close(self) -> None:
        """Hear no more. Idempotent."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    async def follow(self, path: str) -> None:
        """Hear of changes in this sandbox from now on. Raises StateError where it is gone."""
        self._paths[await run_inside(None, partial(_number, path))] = path

    def _drain(self) -> None:
        if self._socket is None:
            return
        numbers: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            for _ in range(BATCH):
                try:
                    data, ancillary, _, _ = self._socket.recvmsg(RECEIVE_BYTES, 64)
                except OSError as error:
                    if isinstance(error, BlockingIOError):
                        raise
                    # ENOBUFS: more happened than fits, so any of them may have changed.
                    numbers.update(self._paths)
                    break
                if len(data) >= GONE.size and GONE.unpack_from(data)[0] == RTM_DELNSID:
                    self._forget(GONE.unpack_from(data)[1])
                # What happened in our own namespace comes without a number.
                numbers.update(
                    [
                        NSID.unpack_from(value)[0]
                        for level, kind, value in ancillary
                        if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID)
                    ]
                    or [OWN]
                )
        for number in numbers & self._paths.keys():
            self._changed(self._paths[number])

    def _changed(self, path: str) -> None:
        for listener in self._listeners:
            listener(path)

    def _forget(self, number: int) -> None:
        """A namespace is gone; its number may soon be another's."""
        path = self._paths.pop(number, None)
        if path is not None:
            self._changed(path)


def _number(path: str) -> int:
    """The number this namespace has for a sandbox, given if it had none. OWN: it is our own."""
    if identity_of(path) == identity_of(OWN_NAMESPACE):
        return OWN
    with open_namespace(path) as fd, netlink(f"{path} cannot be numbered") as peer:
        for _ in range(2):
            answer = peer.get_netnsid(fd=fd)
            number: int | None = None if answer is None else answer["nsid"]
            if number is not None and 0 <= number < 1 << 31:
                return number
            with contextlib.suppress(NetlinkError):  # somebody else gave it one meanwhile
                peer.set_netnsid(fd=fd)
    raise HostError(f"{path} cannot be numbered: the system gives it no number")
