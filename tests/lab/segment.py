"""The virtual segment between VMs: a bridge in a namespace of its own, a TAP a machine."""

import secrets
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from vxnet.demo.namespace import Namespace, require_root

__all__ = ["Segment"]


class Segment:
    """A switch with a port a machine, from `with` to its end. Raises HostError without root."""

    def __init__(self, machines: Sequence[str]) -> None:
        self._machines = machines
        self._namespace: Namespace | None = None

    def __enter__(self) -> Self:
        require_root()
        self._namespace = Namespace(f"vxlab{secrets.token_hex(3)}")
        commands = ["link add switch type bridge mcast_snooping 0", "link set switch up"]
        for name in self._machines:
            commands += [
                f"tuntap add {name} mode tap",
                f"link set {name} master switch up",
            ]
        try:
            for command in commands:
                self._namespace.run(["ip", *command.split()])
        except BaseException:
            self._namespace.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._namespace is not None:
            self._namespace.remove()

    @property
    def entered(self) -> tuple[str, ...]:
        """What is put before QEMU's command, so that it finds the TAPs."""
        assert self._namespace is not None
        return ("nsenter", f"--net={self._namespace.path}", "--")

    def port(self, machine: str) -> str:
        """The machine's netdev, as QEMU is told."""
        return f"tap,ifname={machine},script=no,downscript=no"
