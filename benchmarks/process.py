"""Programs the benchmarks start: in a namespace, remembered by pid, ended with the runner.

Each child asks the kernel to be killed when the runner dies (`setpriv --pdeathsig`), so that even a
runner ended by SIGKILL leaves no program behind.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vxnet.demo.processes import end_all
from vxnet.errors import HostError

__all__ = ["Program", "in_namespace", "program", "run", "wait_until"]


class Program:
    """A program that was started, by its pid, and what it wrote."""

    def __init__(self, command: Sequence[str], child: subprocess.Popen[bytes], log: Path) -> None:
        self.command = tuple(command)
        self.log = log
        self._child = child

    @property
    def pid(self) -> int:
        """Stays the same through nsenter and setpriv, which execute what follows in their place."""
        return self._child.pid

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    def said(self, lines: int = 5) -> str:
        """The last lines it wrote, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait(self, timeout_s: float) -> int:
        """Its exit status. Raises HostError when it does not end in time."""
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise HostError(
                f"{' '.join(self.command)} did not end within {timeout_s:g} s: {self.said()}"
            ) from None

    def stop(self, grace_s: float) -> None:
        """End it: politely, and after `grace_s` without asking."""
        end_all([self._child], grace_s)


def in_namespace(netns: str | Path | None, command: Sequence[str]) -> list[str]:
    """The command, to be run in the network namespace at path `netns`; None is the caller's own.

    Enters with nsenter, not `ip netns exec`, which would hide the cgroup mounts.
    """
    return [*command] if netns is None else ["nsenter", f"--net={netns}", *command]


@contextmanager
def program(
    command: Sequence[str],
    log: Path,
    *,
    netns: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    grace_s: float = 5.0,
) -> Iterator[Program]:
    """Have a program running, both its outputs going to `log`."""
    # A request for a death signal survives nsenter's exec; it belongs to the thread that forks.
    full = in_namespace(netns, ["setpriv", "--pdeathsig", "KILL", *command])
    with log.open("wb") as output:
        child = subprocess.Popen(
            full,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
        )
    started = Program(command, child, log)
    try:
        yield started
    finally:
        started.stop(grace_s)


def run(
    command: Sequence[str],
    *,
    netns: str | Path | None = None,
    timeout_s: float = 60.0,
    given: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What a command printed. Raises HostError with what it said when it fails."""
    try:
        done = subprocess.run(
            in_namespace(netns, ["setpriv", "--pdeathsig", "KILL", *command]),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=None if env is None else dict(env),
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{' '.join(command)} did not end within {timeout_s:g} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise HostError(f"{' '.join(command)} ended with status {done.returncode}: {said}")
    return done.stdout


def wait_until(
    holds: Callable[[], bool], what: str, *, timeout_s: float = 20.0, running: Program | None = None
) -> None:
    """Wait for `holds()`. Raises HostError after `timeout_s`, or when `running` ends before."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if running is not None and not running.is_alive():
            raise HostError(f"{running.command[0]} ended before {what}: {running.said()}")
        if time.monotonic() > deadline:
            said = f": {running.said()}" if running is not None else ""
            raise HostError(f"{what} did not happen within {timeout_s:g} s{said}")
        time.sleep(0.02)
