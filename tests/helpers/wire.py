"""What other programs make of our packets: tshark and scapy, reading them as they were sent."""

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scapy.utils import PcapWriter

from vxnet.demo.bed import UNDERLAY
from vxnet.demo.namespace import Namespace

__all__ = ["send_raw", "tell_kernel_to_finish_packets", "tshark"]


def tell_kernel_to_finish_packets(host: Namespace, device: str = UNDERLAY) -> None:
    """Have outer checksums computed and bursts cut before the device, as a real card's wire shows.

    Without it a veth pair carries bursts whole and leaves outer checksums for nobody to fill in.
    """
    host.run(["ethtool", "-K", device, "tx", "off"])


def send_raw(source: Namespace, target: tuple[str, int], *payloads: bytes) -> None:
    """Send UDP payloads from a host, as a broken or a hostile peer would."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with source.inside(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
        for payload in payloads:
            sender.sendto(payload, target)


def tshark(
    packets: Sequence[bytes], directory: Path, *, port: int, show: str, only: str = ""
) -> list[str]:
    """A field of every packet that a display filter keeps, every checksum verified."""
    path = directory / "packets.pcap"
    with PcapWriter(str(path), linktype=1) as writer:
        for packet in packets:
            writer.write(packet)
    command = ["tshark", "-n", "-r", str(path), "-d", f"udp.port=={port},vxlan"]
    for protocol in ("ip", "tcp", "udp"):
        command += ["-o", f"{protocol}.check_checksum:TRUE"]
    command += ["-Y", only or "vxlan", "-T", "fields", "-e", show]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()
