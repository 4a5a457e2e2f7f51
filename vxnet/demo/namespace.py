"""A network namespace: made, entered for a command or a function, removed with what runs in it."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from pyroute2 import netns

from vxnet.demo.processes import end_all, end_pids, pids_in_namespaces
from vxnet.errors import HostError
from vxnet.host.resolvconf import NAMESPACES, withdraw

__all__ = ["NAMESPACES", "Namespace", "require_root"]

T = TypeVar("T")

SYSCTLS = {
    # A new namespace inherits IPv4's settings from the machine, and a machine with Docker forwards.
    "ipv4/ip_forward": "0",
    "ipv6/conf/all/forwarding": "0",
    # Addresses here are unique by construction: usable at once, without RFC 4862's second of doubt.
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
}


class Namespace:
    """One of `ip netns`, by name, with the processes that were started in it.

    Making one raises HostError where that is not allowed. Commands are entered with `nsenter`,
    which leaves the mounts alone, so container engines can be started too.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = NAMESPACES / name
        self._children: list[subprocess.Popen[bytes]] = []
        if self.path.exists():
            raise HostError(f"the network namespace {name} exists already")
        try:
            netns.create(name)
            self.inside(_configure)
        except OSError as error:
            Namespace.remove(self)  # not a subclass's: that has more to remove than there is yet
            raise HostError(
                f"the network namespace {name} cannot be made: {error.strerror or error}; "
                "root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and a kernel with IPv6 are needed"
            ) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def run(
        self,
        command: Sequence[str | Path],
        *,
        check: bool = True,
        timeout_s: float = 60.0,
        input_text: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. With `check`, a failure is a HostError with what it said."""
        try:
            done = subprocess.run(
                self._entered(command),
                input=input_text,
                stdin=subprocess.DEVNULL if input_text is None else None,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env=env,
            )
        except subprocess.TimeoutExpired:
            raise HostError(
                f"`{_shown(command)}` in {self.name} did not end within {timeout_s:g} s"
            ) from None
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip() or "nothing"
            raise HostError(
                f"`{_shown(command)}` in {self.name} ended with {done.returncode}, saying: {said}"
            )
        return done

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.STDOUT,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command; it is ended with the namespace at the latest.

        It has a session of its own, so that Ctrl-C at a terminal reaches only the one who started
        it, and the order of ending stays ours.
        """
        child = subprocess.Popen(
            self._entered(command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            start_new_session=True,
        )
        return self.adopt(child)

    def adopt(self, child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """End a process that somebody started here with the others."""
        self._children.append(child)
        return child

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that lives here; sockets it makes stay in this namespace."""
        result: list[T] = []
        failure: list[BaseException] = []

        def enter() -> None:
            try:
                netns.setns(str(self.path), flags=0, fork=False)
                result.append(function())
            except BaseException as error:  # told to the caller, below
                failure.append(error)

        thread = threading.Thread(target=enter, name=f"in-{self.name}")
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    def read_sysctl(self, key: str) -> str:
        """A network setting of this namespace, like `ipv4/ip_forward`."""
        return self.inside(lambda: Path("/proc/sys/net", key).read_text()).strip()

    def end_processes(self) -> None:
        """End what was started here, then whatever else lives here."""
        end_all(self._children)
        self._children.clear()
        end_pids(pids_in_namespaces([self.path]))

    def children(self) -> list[subprocess.Popen[bytes]]:
        """What `popen` started."""
        return list(self._children)

    def remove(self) -> None:
        """End what runs here and let the namespace go, devices included. Idempotent."""
        self.end_processes()
        if self.path.exists():
            netns.remove(self.name)
        withdraw(self.name)  # a daemon that was killed could not

    def _entered(self, command: Sequence[str | Path]) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--", *map(str, command)]


def require_root() -> None:
    """Raise HostError for any other user."""
    if os.geteuid() != 0:
        raise HostError("network namespaces are made by root only; run this as root")


def _configure() -> None:
    for key, value in SYSCTLS.items():
        Path("/proc/sys/net", key).write_text(value)


def _shown(command: Sequence[str | Path]) -> str:
    text = " ".join(map(str, command))
    return text if len(text) <= 120 else text[:117] + "..."
