"""A guest as small as can be: a kernel, and a busybox that runs one script."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.lab.disk import VIRTIO, first_system
from tests.lab.qemu import Qemu

__all__ = ["Guest"]

MODULES: Final = (*VIRTIO, "virtio_blk", "failover", "net_failover", "virtio_net")
BEGIN: Final = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
sh /modules/load
"""
END: Final = "\npoweroff -f\n"


class Guest(Qemu):
    """One guest, from `with` to its end, which its script may bring about.

    The script is of busybox's commands, and finds `values` as variables of its environment. `nic`
    is a netdev and its device's properties, as QEMU is told; inside it is eth0. `disks` are
    /dev/vda and so on; what is written there is forgotten.
    """

    def __init__(
        self,
        name: str,
        script: str,
        *,
        nic: tuple[str, str] | None = None,
        disks: Sequence[Path] = (),
        values: Mapping[str, str] | None = None,
        memory_mb: int = 128,
        processors: int = 1,
        entered: Sequence[str] = (),
    ) -> None:
        super().__init__(name, memory_mb=memory_mb, entered=entered)
        kernel, initrd = first_system(BEGIN + script + END, MODULES)
        # What the kernel does not know itself becomes its first process's environment. It is silent
        # but for its own end, for its lines would come into the midst of the script's.
        words = ["console=ttyS0", "loglevel=1", "panic=-1", "net.ifnames=0", "random.trust_cpu=on"]
        words += [f"{key}={value}" for key, value in (values or {}).items()]
        self._command += ["-smp", str(processors), "-kernel", str(kernel)]
        self._command += ["-initrd", str(initrd), "-append", " ".join(words)]
        if nic is not None:
            netdev, device = nic
            self._command += ["-netdev", f"{netdev},id=net0"]
            self._command += ["-device", f"virtio-net-pci,netdev=net0,{device}"]
        for disk in disks:
            self._command += ["-drive", f"file={disk},format=raw,if=virtio,snapshot=on"]

    def lines(self) -> list[str]:
        """What the script printed so far."""
        if not self.console.exists():
            return []
        return self.console.read_text(errors="replace").splitlines()

    def said(self) -> dict[str, str]:
        """What the script printed as `NAME: VALUE`, by name."""
        pairs = (line.partition(": ") for line in self.lines())
        return {name: value.strip() for name, colon, value in pairs if colon}

    def wait_until_said(self, name: str, patience_s: float) -> str:
        """Wait for a line `NAME: VALUE` on the console; its value. Raises LabError."""
        self.wait_for(lambda: name in self.said(), patience_s, f"it says {name}")
        return self.said()[name]
