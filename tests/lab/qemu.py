"""QEMU as a process: how a machine is started, watched and always ended."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.command import DIES_WITH_US, LabError
from tests.lab.disk import boot_files

__all__ = ["BARE", "Qemu", "accelerator"]

BARE: Final = ("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none")
POLL_S: Final = 0.1


class Qemu:
    """One machine, from `with` to its end; `console` takes its first serial line.

    KVM where it works, emulation otherwise.
    """

    def __init__(self, name: str, *, memory_mb: int, entered: Sequence[str] = ()) -> None:
        """`entered` is put before QEMU's command, like `nsenter --net=/run/netns/lab --`."""
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"vm-{name}-"))
        self.console = self.directory / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            *(*entered, *DIES_WITH_US, *BARE),
            *("-accel", accelerator(), "-cpu", "max", "-m", str(memory_mb)),
            *("-serial", f"file:{self.console}"),
        ]

    def __enter__(self) -> Self:
        # In one session with nobody: Ctrl-C at a terminal is for who started us, and he ends it.
        with (self.directory / "qemu").open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.directory)},
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.switch_off()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def is_on(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def switch_off(self) -> None:
        """At once, as if the plug were pulled. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_for(self, condition: Callable[[], object], patience_s: float, what: str) -> float:
        """Wait until a condition holds; returns how long it took. Raises LabError."""
        began = time.monotonic()
        while not condition():
            if not self.is_on:
                raise LabError(f"{self.name} ended by itself, saying: {self._last_words()}")
            if time.monotonic() - began > patience_s:
                raise LabError(
                    f"{self.name}: not within {patience_s:g} s: {what}; its console says: "
                    f"{self._last_words()}"
                )
            time.sleep(POLL_S)
        return time.monotonic() - began

    def _last_words(self) -> str:
        texts = []
        for name in ("qemu", "console"):
            path = self.directory / name
            if path.exists():
                texts.append(path.read_text(errors="replace")[-600:].strip())
        return "\n".join(text for text in texts if text) or "nothing"


@cache
def accelerator() -> str:
    """`kvm` where a machine really starts under it, else `tcg`: a device file proves little."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    kernel, initrd = boot_files()
    with tempfile.NamedTemporaryFile(prefix="vm-kvm-") as console:
        trial = subprocess.Popen(
            [
                *(*BARE, "-accel", "kvm", "-m", "256", "-kernel", kernel, "-initrd", initrd),
                *("-append", "console=ttyS0", "-serial", f"file:{console.name}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 5.0
            while time.monotonic() < deadline and trial.poll() is None:
                if "Linux version" in Path(console.name).read_text(errors="replace"):
                    return "kvm"
                time.sleep(0.1)
        finally:
            trial.kill()
            trial.wait()
    return "tcg"
