"""A link without a device: a pair of descriptors, so that a program can be the host behind it."""

import os
import socket
from contextlib import suppress

from vxnet.link.base import VNET_HEADER_BYTES

__all__ = ["MemoryLink"]

_BUFFER_BYTES = 4_194_304  # some sixty super-frames on their way
_FRAME_MAX_BYTES = VNET_HEADER_BYTES + 65_550


class MemoryLink:
    """Frames through an AF_UNIX datagram pair: what one end writes the other reads, whole.

    The datapath is given the link as it is; a test, or the daemon itself, is the host with `send`
    and `receive`.
    """

    def __init__(self, name: str = "memory", *, uso: bool = True) -> None:
        self._name = name
        self._uso = uso
        ours, self._host = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (ours, self._host):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._fds: tuple[int, ...] = (ours.detach(),)

    @property
    def name(self) -> str:
        """For people."""
        return self._name

    @property
    def fds(self) -> tuple[int, ...]:
        """The datapath's end."""
        return self._fds

    @property
    def uso(self) -> bool:
        """Whether the host behind it takes UDP super-frames."""
        return self._uso

    @property
    def host_fd(self) -> int:
        """Readable while there is something to receive."""
        return self._host.fileno()

    def send(self, frame: bytes, vnet: bytes = bytes(VNET_HEADER_BYTES)) -> None:
        """The host sends a frame, or a super-frame with what `vnet` says of it.

        Raises BlockingIOError where the datapath is too far behind.
        """
        self._host.send(vnet + frame)

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next `virtio_net_hdr` and frame the host was sent; None where there is none."""
        try:
            octets = self._host.recv(_FRAME_MAX_BYTES)
        except BlockingIOError:
            return None
        return octets[:VNET_HEADER_BYTES], octets[VNET_HEADER_BYTES:]

    def unplug(self) -> None:
        """The host's end goes away, as when a device is deleted."""
        self._host.close()

    def close(self) -> None:
        """Close both ends. Idempotent."""
        self._host.close()
        fds, self._fds = self._fds, ()
        for fd in fds:
            with suppress(OSError):
                os.close(fd)
