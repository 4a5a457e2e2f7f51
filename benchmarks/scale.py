"""How vxnet grows: forwarding tables up to a million entries, and a thousand networks.

    python -m benchmarks.scale [--quick] [--peer NAME]...

The datapath runs without daemon and gossip, so that only the size differs; kernel VXLAN with as
many entries stands beside it.
"""

from benchmarks.command import Preset, app
from benchmarks.peers.bare import Bare
from benchmarks.peers.kernel import Kernel
from benchmarks.questions.growth import Growth, Upheaval
from benchmarks.questions.latency import Latency
from benchmarks.questions.packets import Packets
from benchmarks.questions.tcp import Tcp

__all__ = ["main"]

PEERS = (
    Kernel(),
    Kernel(entries=100_000),
    Bare("native", entries=1_000),
    Bare("native", entries=100_000),
    Bare("native", entries=100_000, networks=1_000),
    Bare("native", entries=1_000_000),
    Bare("pure", entries=1_000),
    Bare("pure", entries=100_000),
    Bare("pure", entries=100_000, networks=1_000),
)

main = app(
    Preset(
        module="benchmarks.scale",
        help="Measure what many entries and many networks cost.",
        known_peers=PEERS,
        known_questions=(
            Tcp("tcp-1", "TCP, 1 stream"),
            Packets(64),
            Latency("rtt", "RTT idle"),
            Growth(),
            Upheaval(),
        ),
        rounds=3,
        seconds=3,
        quick_rounds=1,
        quick_seconds=1,
    )
)

if __name__ == "__main__":
    main()
