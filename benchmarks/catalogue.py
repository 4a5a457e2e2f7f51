"""All peers and all questions, and which of them the short runs take."""

from benchmarks.peers.base import Peer
from benchmarks.peers.docker import DockerOverlay, DockerVxnet
from benchmarks.peers.fastd import Fastd
from benchmarks.peers.kernel import Kernel
from benchmarks.peers.n2n import N2n
from benchmarks.peers.nebula import Nebula
from benchmarks.peers.openvpn import OpenVpn
from benchmarks.peers.ovs import OpenVSwitch
from benchmarks.peers.tinc import Tinc
from benchmarks.peers.vxnet import Vxnet
from benchmarks.peers.wireguard import WireGuard
from benchmarks.questions.base import Question
from benchmarks.questions.connections import Connections
from benchmarks.questions.footprint import Footprint
from benchmarks.questions.latency import Latency
from benchmarks.questions.packets import Packets
from benchmarks.questions.tcp import Tcp

__all__ = ["PEERS", "QUESTIONS", "QUICK", "THROUGHPUT"]

PEERS: tuple[Peer, ...] = (
    Kernel(),
    Vxnet("native"),
    Vxnet("pure"),
    DockerOverlay(),
    DockerVxnet(),
    OpenVSwitch(),
    Fastd(),
    Tinc(),
    OpenVpn(),
    WireGuard(),
    Nebula(),
    N2n(),
)

QUESTIONS: tuple[Question, ...] = (
    Tcp("tcp-1", "TCP, 1 stream"),
    Tcp("tcp-4", "TCP, 4 streams", streams=4),
    Tcp("tcp-8", "TCP, 8 streams", streams=8),
    Tcp("tcp-both", "TCP, both ways", bidirectional=True),
    Packets(64),
    Packets(512),
    Packets(1400),
    Latency("rtt", "RTT idle"),
    Latency("rtt-loaded", "RTT beside TCP", loaded=True),
    Connections(),
    Footprint(),
    Tcp("tcp-1400", "TCP, underlay MTU 1400", underlay_mtu=1400),
    Tcp("tcp-9000", "TCP, underlay MTU 9000", underlay_mtu=9000),
)

THROUGHPUT = ("tcp-1", "tcp-4", "udp-64", "rtt")
QUICK = ("tcp-1", "tcp-8", "udp-64", "rtt", "footprint")
