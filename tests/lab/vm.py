"""A virtual machine: Debian with systemd under QEMU, spoken to through QEMU's guest agent.

Nothing is written to the shared disk.
"""

import base64
import itertools
import json
import shlex
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab.command import LabError
from tests.lab.disk import boot_files, disk
from tests.lab.qemu import POLL_S, Qemu

__all__ = ["Done", "Vm"]

BOOT_S: Final = 600.0
"""Under emulation, beside others, a boot of 15 s can take minutes."""
COMMAND_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended in the machine."""

    status: int
    out: str
    err: str


class Vm(Qemu):
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
        super().__init__(name, memory_mb=memory_mb, entered=entered)
        self._agent = self.directory / "agent"
        self._tokens = itertools.count(1)
        self._command += self._parts(nics, disks)

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

    def _parts(self, nics: Sequence[str], disks: Sequence[Path]) -> list[str]:
        kernel, initrd = boot_files()
        # Clones of one disk need identities of their own, or their links get equal MACs.
        identity = uuid.uuid4().hex
        command = [
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append"),
            "console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on "
            f"systemd.machine_id={identity} systemd.hostname={self.name} "
            f"systemd.default_timeout_start_sec={BOOT_S:.0f}",
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
