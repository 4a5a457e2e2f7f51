"""A TAP that somebody else opens, such as QEMU: its frames are taken from the device's other end.

Whoever opens a TAP is the station. What it sends arrives at the network device, where a packet
socket (packet(7)) takes it, with a `virtio_net_hdr` as a TAP's own descriptor would give it.
"""

import ctypes
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vxnet.errors import HostError
from vxnet.link.tap import Tap

__all__ = ["PacketLink"]

# linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h: what Python does not name
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 1, 15, 23
_PACKET_MR_PROMISC = 1
_ETH_P_ALL = 0x0003
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_RECEIVE_BUFFER_BYTES = 4_194_304

# linux/filter.h, linux/bpf_common.h: the kernel takes an 802.1Q tag out of the frame, and a tagged
# frame without its tag would be another network's. Such frames are left out.
_TAG_PRESENT = 0xFFFFF000 + 48  # SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT
_UNTAGGED = (
    (0x28, 0, 0, _TAG_PRESENT),  # ldh  is there a tag?
    (0x15, 0, 1, 0),  # jeq #0
    (0x06, 0, 0, 0xFFFFFFFF),  # ret all of it
    (0x06, 0, 0, 0),  # ret nothing
)

_CONF = Path("/proc/sys/net")
_DEAF = {
    # The device is the virtual machine's; the host neither speaks nor listens on it.
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv4/conf/{}/arp_ignore": "8",
    "ipv4/conf/{}/rp_filter": "1",
}


class PacketLink:
    """Frames of a persistent TAP, taken and given at its device. It goes when it is deleted."""

    uso = False

    def __init__(self, name: str, opened: socket.socket) -> None:
        self.name = name
        self._socket = opened

    @classmethod
    def make(cls, name: str) -> "PacketLink":
        """Make the TAP in this process's namespace, and take its frames. Raises HostError."""
        Tap.open(name, persistent=True).close()
        try:
            for key, value in _DEAF.items():
                with suppress(FileNotFoundError):  # a kernel without IPv6
                    (_CONF / key.format(name)).write_text(value, encoding="ascii")
        except OSError as error:
            raise HostError(f"{name} cannot be kept from the host: {error.strerror}") from error
        return cls.resume(name)

    @classmethod
    def resume(cls, name: str) -> "PacketLink":
        """Take the frames of a TAP that is there. Raises HostError."""
        try:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except OSError as error:
            raise HostError(f"frames of {name} cannot be taken: {error.strerror}") from error
        try:
            opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
            _leave_out_tagged(opened)
            opened.bind((name, _ETH_P_ALL))
            index = socket.if_nametoindex(name)
            request = struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
            opened.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
        except OSError as error:
            opened.close()
            raise HostError(f"frames of {name} cannot be taken: {error.strerror}") from error
        return cls(name, opened)

    @property
    def fds(self) -> tuple[int, ...]:
        """The packet socket."""
        return () if self._socket.fileno() < 0 else (self._socket.fileno(),)

    def part(self, *, keep_device: bool) -> Callable[[], None]:
        """The TAP stays until it is deleted: somebody else's descriptor hangs on it."""
        return lambda: None

    def close(self) -> None:
        """Take no more frames. Idempotent."""
        self._socket.close()


def _leave_out_tagged(opened: socket.socket) -> None:
    program = b"".join(struct.pack("HBBI", *step) for step in _UNTAGGED)
    room = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(_UNTAGGED), ctypes.addressof(room))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
