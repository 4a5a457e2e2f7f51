"""A guest as small as can be: a kernel, and a busybox that runs one script, on one NIC."""

from collections.abc import Mapping, Sequence
from typing import Final

from lab.disk import VIRTIO, first_system
from lab.qemu import Qemu

__all__ = ["Guest"]

MODULES: Final = (*VIRTIO, "failover", "net_failover", "virtio_net")
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

    `nic` is a netdev and `device` its device's properties, as QEMU is told; the device is eth0
    inside. The script is of busybox's commands, and finds `values` as variables of its environment.
    """

    def __init__(
        self,
        name: str,
        script: str,
        *,
        nic: str,
        device: str,
        values: Mapping[str, str],
        entered: Sequence[str] = (),
    ) -> None:
        super().__init__(name, memory_mb=128, entered=entered)
        kernel, initrd = first_system(BEGIN + script + END, MODULES)
        # What the kernel does not know itself becomes its first process's environment.
        words = [f"{key}={value}" for key, value in values.items()]
        self._command += [
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append"),
            f"console=ttyS0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on {' '.join(words)}",
            *("-netdev", f"{nic},id=net0", "-device", f"virtio-net-pci,netdev=net0,{device}"),
        ]

    def said(self) -> dict[str, str]:
        """What the script printed as `NAME: VALUE`, by name."""
        if not self.console.exists():
            return {}
        lines = self.console.read_text(errors="replace").splitlines()
        pairs = (line.partition(": ") for line in lines)
        return {name: value.strip() for name, colon, value in pairs if colon}

    def wait_until_said(self, name: str, patience_s: float) -> str:
        """Wait for a line `NAME: VALUE` on the console; its value. Raises LabError."""
        self.wait_for(lambda: name in self.said(), patience_s, f"it says {name}")
        return self.said()[name]
