"""What a link is: where frames of one endpoint come from and go to."""

from typing import Protocol

__all__ = ["VNET_HEADER_BYTES", "Link"]

VNET_HEADER_BYTES = 10
"""Each frame is preceded by a `struct virtio_net_hdr` of this size (linux/virtio_net.h)."""


class Link(Protocol):
    """A non-blocking descriptor of whole frames, each behind its `virtio_net_hdr`.

    One read gives one frame or super-frame (up to 65,550 octets with its header), one write takes
    one. Datapaths read and write `fds` themselves, so that a frame lands where its headers fit.
    """

    @property
    def name(self) -> str:
        """The device's name when it was made, for people."""
        ...

    @property
    def fds(self) -> tuple[int, ...]:
        """One descriptor a queue; owned by the link."""
        ...

    @property
    def uso(self) -> bool:
        """Whether it takes UDP super-frames; TCP's it always does."""
        ...

    def close(self) -> None:
        """Close the descriptors; a device that is not persistent goes with them. Idempotent."""
        ...
