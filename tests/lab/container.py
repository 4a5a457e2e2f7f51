"""A container with a systemd of its own, on the shared Debian tree; what it writes goes with it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.command import DIES_WITH_US, LabError
from tests.lab.debian import tree

__all__ = ["Container"]

BOOT_S: Final = 60.0
POLL_S: Final = 0.05


class Container:
    """One machine in a network namespace that is there already, from `with` to its end.

    `folders` are the host's, read-only, by where they are inside. `log` takes the console.
    """

    def __init__(self, name: str, namespace: Path, log: Path, folders: dict[str, Path]) -> None:
        self.name = name
        self._log = log
        self._command = [
            *(*DIES_WITH_US, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"),
            *("--machine", name, "--directory", str(tree()), "--volatile=overlay"),
            *(f"--network-namespace-path={namespace}", "--bind=/dev/net/tun"),
            *("--capability=CAP_NET_ADMIN,CAP_NET_RAW", "--console=pipe"),
            *(f"--bind-ro={path}:{inside}" for inside, path in folders.items()),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.leader = 0
        """The container's first process, as the host counts."""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait_for(self._is_up, BOOT_S, "systemd has started everything")
        except BaseException:
            self.switch_off()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.switch_off()

    def switch_off(self) -> None:
        """At once. Idempotent."""
        if self._process is None:
            return
        if self.leader:
            with suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
        self._process.kill()
        self._process.wait()

    def path(self, inside: str) -> Path:
        """A file of the container, as the host reaches it."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root to its end. With `check`, a failure is a LabError."""
        words: Sequence[str] = ("nsenter", "--target", str(self.leader), "--all", "--", *command)
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip() or "nothing"
            raise LabError(
                f"`{' '.join(command)}` in {self.name} ended with {done.returncode}, saying: {said}"
            )
        return done

    def wait_for(self, condition: Callable[[], object], patience_s: float, what: str) -> float:
        """Wait until a condition holds; returns how long it took. Raises LabError."""
        began = time.monotonic()
        while not condition():
            if self._process is None or self._process.poll() is not None:
                raise LabError(
                    f"{self.name} ended, saying: {self._log.read_text(errors='replace')}"
                )
            if time.monotonic() - began > patience_s:
                raise LabError(f"{self.name}: not within {patience_s:g} s: {what}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def _is_up(self) -> bool:
        self.leader = self.leader or self._find_leader()
        if not self.leader:
            return False
        said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")

    def _find_leader(self) -> int:
        """The child that is number 1 in a namespace of its own; 0 while there is none."""
        assert self._process is not None
        pid = self._process.pid
        try:
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                status = Path(f"/proc/{child}/status").read_text()
                numbers = status.partition("NSpid:")[2].partition("\n")[0].split()
                if len(numbers) > 1 and numbers[-1] == "1":
                    return int(child)
        except OSError:
            pass  # it is just beginning
        return 0
