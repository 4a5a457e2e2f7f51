"""A bed: several hosts on this machine, as network namespaces that share one underlay.

A kernel bridge in a namespace of its own plays the switch between them; two hosts may be joined by
one cable instead. No device is ever made in the machine's own namespace, every name starts with the
run's own prefix, and all of it goes when the bed is left, whatever the reason.
"""

import fcntl
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vxnet.demo.namespace import Namespace, require_root
from vxnet.demo.processes import end_all
from vxnet.errors import HostError, StateError

__all__ = ["DIRECTORY", "UNDERLAY", "Bed", "Host", "in_use"]

DIRECTORY = Path("/run/vxnet-demo")
"""Holds a directory a bed, named by its prefix and locked for as long as its program runs."""

UNDERLAY = "underlay0"
"""The device of each host that leads to the others."""

HOSTS_MAX = 250
IFA_F_NODAD = 0x02

_Handler = Callable[[int, FrameType | None], Any] | int | None


class Host(Namespace):
    """A machine of the bed: its underlay addresses, its directory, its sandboxes."""

    def __init__(self, prefix: str, number: int, directory: Path) -> None:
        super().__init__(f"{prefix}-h{number}")
        self.number = number
        self.vtep4 = f"192.0.2.{number}"
        self.vtep6 = f"2001:db8::{number:x}"
        self.directory = directory / f"h{number}"
        self.directory.mkdir()
        self.sandboxes: dict[str, Namespace] = {}

    @property
    def label(self) -> str:
        """The host's name without the run's prefix: `h1`."""
        return f"h{self.number}"

    def sandbox(self, name: str) -> Namespace:
        """The sandbox of this name, made if it is new: an empty namespace, as a container has."""
        if name not in self.sandboxes:
            self.sandboxes[name] = Namespace(f"{self.name}-{name}")
        return self.sandboxes[name]

    def kill(self) -> None:
        """End everything on this host and in its sandboxes at once, without a goodbye."""
        for place in (self, *self.sandboxes.values()):
            for child in place.children():
                if child.poll() is None:
                    child.kill()

    def remove(self) -> None:
        """The sandboxes first, then the host."""
        for box in self.sandboxes.values():
            box.remove()
        super().remove()


class Bed:
    """Hosts on one underlay, from `with` to its end.

    `mtu` is the underlay's. With `direct`, two hosts are joined by one veth pair and there is no
    switch. While the bed stands, SIGTERM and SIGHUP end the program as an exception does, so that
    everything is removed. Raises HostError where the system refuses.
    """

    def __init__(
        self, hosts: int = 2, *, mtu: int = 1500, direct: bool = False, prefix: str | None = None
    ) -> None:
        if not 1 <= hosts <= HOSTS_MAX:
            raise StateError(f"a bed has 1 to {HOSTS_MAX} hosts, not {hosts}")
        if direct and hosts != 2:
            raise StateError(f"one cable joins 2 hosts, not {hosts}; leave `direct` out")
        self.prefix = prefix or f"vx{secrets.token_hex(3)}"
        self.mtu = mtu
        self.hosts: list[Host] = []
        self.directory = DIRECTORY / self.prefix
        self._wanted = hosts
        self._direct = direct
        self._switch: Namespace | None = None
        self._kept = False
        self._handlers: dict[signal.Signals, _Handler] = {}
        self._owner = os.getpid()
        self._lock: int | None = None

    def __enter__(self) -> Self:
        require_root()
        self._take_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._kept:
            self._unlock()
            self._give_signals_back()
        else:
            self.close()

    def __getitem__(self, index: int) -> Host:
        return self.hosts[index]

    def keep(self) -> None:
        """Leave everything standing when the bed is left."""
        self._kept = True

    def close(self) -> None:
        """Remove everything that was made. Idempotent; a second Ctrl-C does not stop it."""
        if os.getpid() != self._owner:
            return  # a forked child (pyroute2 makes some) unwinding; the bed is not its own
        self._ignore_signals()
        try:
            places = [
                self._switch,
                *self.hosts,
                *(b for h in self.hosts for b in h.sandboxes.values()),
            ]
            # Daemons say goodbye for a second, so all of them at once.
            end_all([child for place in places if place for child in place.children()])
            for host in self.hosts:
                host.remove()
            if self._switch is not None:
                self._switch.remove()
            shutil.rmtree(self.directory, ignore_errors=True)
            self._unlock()
            with suppress(OSError):
                DIRECTORY.rmdir()  # the last bed takes it along
        finally:
            self._give_signals_back()

    def partition(self, *groups: Sequence[Host]) -> None:
        """Let hosts reach only those of their own group; hosts in no group keep to themselves."""
        switch = self._need_switch()
        with IPRoute(netns=switch.name) as netlink:
            for number, group in enumerate(groups, start=1):
                bridge = _add_bridge(netlink, f"part{number}", self.mtu)
                for host in group:
                    _set_master(netlink, host.label, bridge)

    def heal(self) -> None:
        """Undo `partition`."""
        switch = self._need_switch()
        with IPRoute(netns=switch.name) as netlink:
            bridge = _index(netlink, "switch")
            for host in self.hosts:
                _set_master(netlink, host.label, bridge)
            for link in netlink.link("dump"):
                if link.get("ifname").startswith("part"):
                    netlink.link("del", index=link["index"])

    def narrow(self, mtu: int) -> None:
        """Have the switch swallow frames with more than `mtu` octets of IP; hosts are not told."""
        switch = self._need_switch()
        with IPRoute(netns=switch.name) as netlink:
            for host in self.hosts:
                netlink.link("set", index=_index(netlink, host.label), mtu=mtu)

    def _build(self) -> None:
        DIRECTORY.mkdir(mode=0o700, exist_ok=True)
        self.directory.mkdir(mode=0o700)
        self._lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            for number in range(1, self._wanted + 1):
                self.hosts.append(Host(self.prefix, number, self.directory))
            if self._direct:
                self._join_directly()
            else:
                self._join_by_switch()
        except NetlinkError as error:
            raise HostError(f"the bed cannot be built: {error}") from None

    def _join_directly(self) -> None:
        first, second = self.hosts
        with IPRoute(netns=first.name) as netlink:
            _add_veth(netlink, UNDERLAY, UNDERLAY, second, self.mtu)
        for host in self.hosts:
            self._address(host)

    def _join_by_switch(self) -> None:
        self._switch = Namespace(f"{self.prefix}-switch")
        with IPRoute(netns=self._switch.name) as netlink:
            bridge = _add_bridge(netlink, "switch", self.mtu)
            for host in self.hosts:
                _add_veth(netlink, host.label, UNDERLAY, host, self.mtu)
                _set_master(netlink, host.label, bridge)
                netlink.link("set", index=_index(netlink, host.label), state="up")
        for host in self.hosts:
            self._address(host)

    def _address(self, host: Host) -> None:
        with IPRoute(netns=host.name) as netlink:
            netlink.link("set", index=_index(netlink, "lo"), state="up")
            index = _index(netlink, UNDERLAY)
            netlink.link("set", index=index, state="up")
            netlink.addr("add", index=index, address=host.vtep4, prefixlen=24)
            netlink.addr("add", index=index, address=host.vtep6, prefixlen=64, flags=IFA_F_NODAD)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _need_switch(self) -> Namespace:
        if self._switch is None:
            raise StateError(
                "hosts joined by one cable cannot be parted; build the bed with a switch"
            )
        return self._switch

    def _take_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, self._end)
            self._handlers[signal.SIGINT] = signal.getsignal(signal.SIGINT)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            os._exit(128 + number)
        raise SystemExit(128 + number)

    def _ignore_signals(self) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def _give_signals_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()


def in_use(prefix: str) -> bool:
    """Whether the program that made this bed still runs; not so for one left behind or kept."""
    try:
        directory = os.open(DIRECTORY / prefix, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(directory)
    return False


def _index(netlink: IPRoute, name: str) -> int:
    found: list[int] = list(netlink.link_lookup(ifname=name))
    if not found:
        raise HostError(f"there is no device {name} where one was just made")
    return found[0]


def _add_bridge(netlink: IPRoute, name: str, mtu: int) -> int:
    # Snooping without a querier would hold back neighbour discovery.
    netlink.link("add", ifname=name, kind="bridge", mtu=mtu, br_mcast_snooping=0)
    index = _index(netlink, name)
    netlink.link("set", index=index, state="up")
    return index


def _add_veth(netlink: IPRoute, near: str, far: str, other: Namespace, mtu: int) -> None:
    peer = {"ifname": far, "net_ns_fd": str(other.path), "mtu": mtu}
    netlink.link("add", ifname=near, kind="veth", mtu=mtu, peer=peer)


def _set_master(netlink: IPRoute, name: str, bridge: int) -> None:
    netlink.link("set", index=_index(netlink, name), master=bridge)
