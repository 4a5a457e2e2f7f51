"""Work inside another network namespace, in a thread that lives only for it."""

import asyncio
import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from vxnet.errors import HostError, StateError

__all__ = [
    "enter",
    "forget_namespace",
    "identity_of",
    "keep_namespace",
    "open_namespace",
    "run_inside",
    "run_outside",
]

CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
MS_BIND: Final = 4096  # linux/mount.h
MNT_DETACH: Final = 2
NS_GET_NSTYPE: Final = 0xB703  # linux/nsfs.h: _IO(0xb7, 3)

T = TypeVar("T")


@contextmanager
def open_namespace(path: str) -> Iterator[int]:
    """A descriptor of the namespace this file stands for. Raises StateError where it is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR):
            raise StateError(f"there is no network namespace {path}{_mend(path)}") from None
        raise StateError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        try:
            kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
        except OSError:
            kind = 0
        if kind != CLONE_NEWNET:
            raise StateError(f"{path} is a file, but not a network namespace{_mend(path)}")
        yield fd
    finally:
        os.close(fd)


def identity_of(path: str) -> tuple[int, int]:
    """Device and inode of a namespace. Raises StateError where the file stands for none."""
    with open_namespace(path) as fd:
        status = os.fstat(fd)
    return status.st_dev, status.st_ino


async def run_inside(path: str | None, work: Callable[[], T]) -> T:
    """Call `work` in a thread of its own, inside the namespace (None: this process's)."""

    def enter_and_work() -> T:
        if path is not None:
            enter(path)
        return work()

    return await _in_a_thread(enter_and_work)


async def run_outside(work: Callable[[], T]) -> T:
    """Call `work` in a thread of its own, inside a namespace that is gone with it."""

    def leave_and_work() -> T:
        if _libc().unshare(CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise HostError(f"a network namespace cannot be made: {reason}")
        return work()

    return await _in_a_thread(leave_and_work)


async def _in_a_thread(work: Callable[[], T]) -> T:
    """The thread ends with the work: setns(2) binds it, and it need not find the way back."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # carried to whoever awaits
            failure = error
        loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="namespace", daemon=True).start()
    return await done


def enter(path: str) -> None:
    """Have this thread live in the namespace from now on. Raises StateError or HostError."""
    with open_namespace(path) as fd:
        _enter(fd, path)


def keep_namespace(path: str) -> None:
    """Have a file keep the namespace of this thread, as `ip netns add` does."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        raise StateError(f"{path} exists, and is no network namespace; remove it first") from None
    except OSError as error:
        raise HostError(f"{path} cannot be made: {error.strerror}{_mend(path)}") from None
    if _libc().mount(b"/proc/thread-self/ns/net", os.fsencode(path), None, MS_BIND, None) != 0:
        reason = os.strerror(ctypes.get_errno())
        os.unlink(path)
        raise HostError(f"{path} cannot be mounted: {reason}{_mend(path)}")


def forget_namespace(path: str) -> None:
    """Undo `keep_namespace`; the namespace goes with the last process in it."""
    if os.path.exists(path):
        _libc().umount2(os.fsencode(path), MNT_DETACH)
        try:
            os.unlink(path)
        except OSError as error:
            raise HostError(f"{path} cannot be removed: {error.strerror}") from None


def _enter(fd: int, path: str) -> None:
    if _libc().setns(fd, CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise HostError(f"{path} cannot be entered: {reason}; root or CAP_SYS_ADMIN is needed")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mend(path: str) -> str:
    if path.startswith("/run/netns/"):
        return f"; make it with: ip netns add {path.removeprefix('/run/netns/')}"
    return ""
