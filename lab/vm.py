"""A virtual machine under QEMU: Debian with systemd, spoken to through QEMU's guest agent.

KVM where it works, emulation otherwise. Nothing is written to the shared disk, and the process is
always ended: use it in a `with`.
"""

import base64
import itertools
import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from lab.command import DIES_WITH_US, LabError
from lab.disk import boot_files, disk

__all__ = ["Done", "Vm", "accelerator"]

BOOT_S: Final = 600.0
"""Under emulation, beside others, a boot of 15 s can take minutes."""
COMMAND_S: Final = 180.0
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended in the machine."""

    status: int
    out: str
    err: str


class Vm:
    """One machine, from `with` to its end.

    `nics` are QEMU's netdevs without their ids, like `tap,ifname=vm1,script=no,downscript=no`;
    `disks` are further ones, read-only: /dev/vdb and so on.
    """

    def __init__(
        self,
        name: str,
        *,
        nics: Sequence[str] = (),
        disks: Sequence[Path] = (),
        memory_mb: int = 640,
        entered: Sequence[str] = (),
    ) -> None:
        """`entered` is put before QEMU's command, like `nsenter --net=/run/netns/lab --`."""
        self.name = name
        self._directory = Path(tempfile.mkdtemp(prefix=f"vm-{name}-"))
        self.console = self._directory / "console"
        self._agent = self._directory / "agent"
        self._tokens = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [*entered, *DIES_WITH_US, *self._qemu(nics, disks, memory_mb)]

    def __enter__(self) -> Self:
        # In one session with nobody: Ctrl-C at a terminal is for who started us, and he ends it.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=(self._directory / "qemu").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(self._directory)},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.switch_off()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def is_on(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def switch_off(self) -> None:
        """At once, as if the plug were pulled. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_until_up(self) -> None:
        """Until systemd has started everything that it starts by itself."""
        self.wait_for(self._answers, BOOT_S, "it answers")
        self.wait_for(
            lambda: (
                self.run("systemctl is-system-running", check=False).out.strip()
                in ("running", "degraded")
            ),
            BOOT_S,
            "systemd has started everything",
        )

    def run(self, command: str, *, check: bool = True, timeout_s: float = COMMAND_S) -> Done:
        """Run a shell command as root to its end. With `check`, a failure is a LabError."""
        started = self._ask(
            "guest-exec",
            {
                "path": "/bin/sh",
                "arg": ["-c", command],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "capture-output": True,
            },
        )
        deadline = time.monotonic() + timeout_s
        while True:
            status = self._ask("guest-exec-status", {"pid": started["pid"]})
            if status["exited"]:
                break
            if time.monotonic() > deadline:
                raise LabError(f"`{command}` in {self.name} did not end within {timeout_s:g} s")
            time.sleep(POLL_S)
        done = Done(
            int(status.get("exitcode", 128 + int(status.get("signal", 0)))),
            base64.b64decode(status.get("out-data", "")).decode(errors="replace"),
            base64.b64decode(status.get("err-data", "")).decode(errors="replace"),
        )
        if check and done.status:
            said = (done.err or done.out).strip() or "nothing"
            raise LabError(f"`{command}` in {self.name} ended with {done.status}, saying: {said}")
        return done

    def write(self, path: str, content: str) -> None:
        """Put a text file there."""
        coded = base64.b64encode(content.encode()).decode()
        self.run(f"echo {coded} | base64 -d >{shlex.quote(path)}")

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

    def _answers(self) -> bool:
        try:
            self._ask("guest-ping", {}, timeout_s=2.0)
        except (LabError, OSError):
            return False
        return True

    def _ask(self, verb: str, arguments: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        """One question to the agent. Raises LabError for what it refuses, OSError for silence."""
        token = next(self._tokens)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(timeout_s)
            channel.connect(str(self._agent))
            # What was asked before, and not waited for, may still be answered: skip to our own.
            for question in (
                {"execute": "guest-sync", "arguments": {"id": token}},
                {"execute": verb, "arguments": arguments},
            ):
                channel.sendall(json.dumps(question).encode() + b"\n")
            ours = False
            for line in channel.makefile():
                answer = json.loads(line)
                if "error" in answer:
                    raise LabError(f"{self.name}: {verb}: {answer['error']['desc']}")
                if ours:
                    found = answer["return"]
                    return found if isinstance(found, dict) else {}
                ours = answer["return"] == token
        raise LabError(f"{self.name}: the guest agent hung up at {verb}")

    def _last_words(self) -> str:
        texts = []
        for name in ("qemu", "console"):
            path = self._directory / name
            if path.exists():
                texts.append(path.read_text(errors="replace")[-600:].strip())
        return "\n".join(text for text in texts if text) or "nothing"

    def _qemu(self, nics: Sequence[str], disks: Sequence[Path], memory_mb: int) -> list[str]:
        kernel, initrd = boot_files()
        # Clones of one disk need identities of their own, or their links get equal MACs.
        identity = uuid.uuid4().hex
        command = [
            *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none"),
            *("-accel", accelerator(), "-cpu", "max", "-m", str(memory_mb)),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append"),
            "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on "
            f"systemd.machine_id={identity} systemd.hostname={self.name} "
            f"systemd.default_timeout_start_sec={BOOT_S:.0f}",
            *("-serial", f"file:{self.console}"),
            *("-drive", f"file={disk()},format=raw,if=virtio,snapshot=on"),
            *("-device", "virtio-serial"),
            *("-chardev", f"socket,id=agent,path={self._agent},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-device", "virtio-rng-pci"),
        ]
        for path in disks:
            command += ["-drive", f"file={path},format=raw,if=virtio,readonly=on"]
        for number, nic in enumerate(nics):
            mac = f"52:54:00:{identity[:2]}:{identity[2:4]}:{number:02x}"
            command += ["-netdev", f"{nic},id=net{number}"]
            command += ["-device", f"virtio-net-pci,netdev=net{number},mac={mac},romfile="]
        return command


@cache
def accelerator() -> str:
    """`kvm` where a machine really starts under it, else `tcg`: a device file proves little."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    kernel, initrd = boot_files()
    with tempfile.NamedTemporaryFile(prefix="vm-kvm-") as console:
        trial = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none"),
                *("-accel", "kvm", "-m", "256", "-kernel", kernel, "-initrd", initrd),
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
