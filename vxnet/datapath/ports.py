"""The ports of a pure datapath: their links, and how a frame is handed to one."""

import os
from collections.abc import Iterator, Sequence
from errno import EAGAIN, EINVAL, ENOBUFS, ENOMEM

from vxnet.datapath.base import Counters, Port, Segment
from vxnet.link.base import Link
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire import ecn, ethernet, vxlan
from vxnet.wire.ethernet import Buffer

__all__ = ["NO_LIMIT", "Attachment", "Ports"]

NO_LIMIT = 1 << 16
"""Octets of a frame that the way to a VTEP carries where nothing else is known of it."""

_ALL = 0xFF
_FULL = frozenset({EAGAIN, ENOBUFS, ENOMEM})


class Attachment:
    """A port in service, and what its frames need at every step."""

    __slots__ = (
        "counters",
        "fd",
        "frame_max_bytes",
        "header",
        "link",
        "mtu",
        "port",
        "tos_fixed",
        "tos_mask",
        "tunnel",
    )

    def __init__(
        self, port: Port, link: Link, segment: Segment, counters: Counters, tunnel: Counters
    ) -> None:
        self.port = port
        self.link = link
        self.fd = link.fds[0]
        self.header = vxlan.build(port.vni)
        self.counters = counters
        self.tunnel = tunnel  # of the network
        self.adjust(segment)

    def adjust(self, segment: Segment) -> None:
        """Take over the network's settings."""
        tag = ethernet.TAG_BYTES if segment.vlan_transparent else 0
        self.mtu = segment.mtu
        self.frame_max_bytes = ethernet.HEADER_BYTES + tag + segment.mtu
        # What of the inner class is copied to the outer header, and what is there in any case.
        self.tos_mask = _ALL if segment.dscp is None else ecn.MASK
        self.tos_fixed = (segment.dscp or 0) << 2


class Ports:
    """All ports by number."""

    def __init__(self) -> None:
        self._attachments: dict[PortId, Attachment] = {}
        self.uso = True  # whether every link takes UDP super-frames

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self._attachments.values())

    def add(self, attachment: Attachment) -> None:
        """Take a port in."""
        self._attachments[attachment.port.id] = attachment
        self._agree()

    def get(self, port_id: PortId) -> Attachment | None:
        """A port by its id."""
        return self._attachments.get(port_id)

    def pop(self, port_id: PortId) -> Attachment | None:
        """Let a port go."""
        attachment = self._attachments.pop(port_id, None)
        self._agree()
        return attachment

    def deliver(
        self, port_id: PortId, parts: Sequence[Buffer], frames: int, octets: int
    ) -> DropReason | None:
        """Write a frame or super-frame, its `virtio_net_hdr` first; returns why it was refused.

        It stands for so many frames and octets.
        """
        attachment = self._attachments.get(port_id)
        if attachment is None:
            return DropReason.PORT_UNKNOWN
        try:
            os.writev(attachment.fd, parts)
        except OSError as error:
            if error.errno in _FULL:
                return DropReason.LINK_FULL
            # EINVAL: the kernel finds that headers and virtio_net_hdr do not agree.
            return DropReason.FRAME_MALFORMED if error.errno == EINVAL else DropReason.LINK_DOWN
        attachment.counters.out += frames
        attachment.counters.out_bytes += octets
        return None

    def _agree(self) -> None:
        self.uso = all(attachment.link.uso for attachment in self)
