"""A TAP device: the kernel's end is a network interface, ours is a descriptor of frames.

The descriptor goes on working when the interface is moved to another namespace, renamed, or set
down and up; it fails with EBADFD once the interface is deleted.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EBADFD, EBUSY, EINVAL, ENOENT, EPERM
from fcntl import ioctl
from functools import partial
from struct import Struct

from vxnet.errors import HostError
from vxnet.link.base import VNET_HEADER_BYTES

__all__ = ["NAME_MAX_BYTES", "Tap"]

NAME_MAX_BYTES = 15
"""IFNAMSIZ without its closing zero."""

_DEVICE = "/dev/net/tun"

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNGETIFF = 0x800454D2
_TUNGETDEVNETNS = 0x54E3
_IFF_TAP, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x0100, 0x1000, 0x4000
_CSUM, _TSO4, _TSO6, _TSO_ECN, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40

# Asked for in turn until the kernel agrees: USO is there since Linux 6.2.
_OFFLOADS = (
    (_CSUM | _TSO4 | _TSO6 | _TSO_ECN | _USO4 | _USO6, True),
    (_CSUM | _TSO4 | _TSO6 | _TSO_ECN, False),
)

_IFREQ = Struct("16sH22x")


class Tap:
    """A non-blocking TAP whose frames come and go with `virtio_net_hdr`s and as super-frames."""

    def __init__(self, name: str, fds: tuple[int, ...], *, uso: bool) -> None:
        self._name = name
        self._fds = fds
        self._uso = uso

    @classmethod
    def open(cls, name: str = "", *, queues: int = 1, persistent: bool = False) -> "Tap":
        """Make the device in the calling thread's network namespace, or take a persistent one up.

        `name` may hold one `%d`, and be empty for the kernel's choice. `queues` is the number of
        descriptors; a device made with several needs several again. A persistent device outlives
        the descriptors; otherwise it goes with the last. Raises HostError where the system refuses.
        """
        if len(name.encode()) > NAME_MAX_BYTES:
            raise HostError(
                f"TAP name {name!r} is longer than {NAME_MAX_BYTES} octets; take a shorter one"
            )
        fds: list[int] = []
        try:
            uso = False
            for _ in range(queues):
                fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                fds.append(fd)
                name = _attach(fd, name, several=queues > 1)
                uso = _offload(fd)
            ioctl(fds[0], _TUNSETPERSIST, int(persistent))
        except OSError as error:
            for fd in fds:
                os.close(fd)
            raise HostError(_sentence(name, error)) from error
        return cls(name, tuple(fds), uso=uso)

    @classmethod
    def inherit(cls, fd: int) -> "Tap":
        """Go on with a descriptor that a former daemon opened; it is the link's from now on.

        Raises HostError where it is no TAP of ours (any more).
        """
        try:
            name, flags = _IFREQ.unpack(ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size)))
            if not flags & _IFF_TAP or not flags & _IFF_VNET_HDR:
                raise OSError(EINVAL, "not a TAP with virtio_net_hdr")
            os.set_inheritable(fd, False)
            uso = _offload(fd)
        except OSError as error:
            os.close(fd)
            raise HostError(f"descriptor {fd} is no TAP of ours: {error.strerror}") from error
        return cls(name.rstrip(b"\0").decode(errors="replace"), (fd,), uso=uso)

    def namespace(self) -> tuple[int, int]:
        """Device and inode of the network namespace that the device is in.

        Raises HostError where the system refuses.
        """
        try:
            inside = ioctl(self._fds[0], _TUNGETDEVNETNS)
        except OSError as error:
            raise HostError(_sentence(self._name, error)) from error
        try:
            status = os.fstat(inside)
        finally:
            os.close(inside)
        return status.st_dev, status.st_ino

    @property
    def name(self) -> str:
        """The device's name when it was made, for people."""
        return self._name

    @property
    def fds(self) -> tuple[int, ...]:
        """One descriptor a queue; owned by the link."""
        return self._fds

    @property
    def uso(self) -> bool:
        """Whether it takes UDP super-frames."""
        return self._uso

    def part(self, *, keep_device: bool) -> Callable[[], None]:
        """Have the device stay though the link is closed, until what is returned was called.

        Then it goes, unless it is persistent and kept. The kernel takes its time for that, so the
        call belongs into a thread.
        """
        held = [os.dup(fd) for fd in self._fds]
        return partial(_let_go, self._name, held, keep_device)

    def close(self) -> None:
        """Close the descriptors; a device that is not persistent goes with them. Idempotent."""
        fds, self._fds = self._fds, ()
        for fd in fds:
            with suppress(OSError):
                os.close(fd)


def _let_go(name: str, fds: list[int], keep_device: bool) -> None:
    try:
        if fds and not keep_device:
            ioctl(fds[0], _TUNSETPERSIST, 0)
    except OSError as error:
        if error.errno != EBADFD:  # somebody deleted it already
            raise HostError(_sentence(name, error)) from error
    finally:
        for fd in fds:
            with suppress(OSError):
                os.close(fd)


def _attach(fd: int, name: str, *, several: bool) -> str:
    """Tie a descriptor to the device, made if need be; returns the name it has."""
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if several else 0)
    answer = ioctl(fd, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
    ioctl(fd, _TUNSETVNETHDRSZ, VNET_HEADER_BYTES.to_bytes(4, sys.byteorder))
    made: bytes = _IFREQ.unpack(answer)[0]
    return made.rstrip(b"\0").decode()


def _offload(fd: int) -> bool:
    """Ask for super-frames; returns whether UDP's are among them."""
    for flags, uso in _OFFLOADS:
        try:
            ioctl(fd, _TUNSETOFFLOAD, flags)
        except OSError as error:
            if error.errno != EINVAL:
                raise
        else:
            return uso
    raise OSError(EINVAL, "TUNSETOFFLOAD refused")


def _sentence(name: str, error: OSError) -> str:
    """What went wrong, and the mend."""
    what = f"cannot open the TAP {name!r}" if name else "cannot make a TAP"
    match error.errno:
        case code if code == EPERM:
            return f"{what}: no permission; run as root or with CAP_NET_ADMIN"
        case code if code == ENOENT:
            return f"{what}: {_DEVICE} is missing; load the tun module or pass the device in"
        case code if code == EBUSY:
            return f"{what}: another process holds it; stop that one or take another name"
        case code if code == EINVAL:
            return f"{what}: a device of this name exists and is no such TAP; take another name"
        case _:
            return f"{what}: {error.strerror}"
