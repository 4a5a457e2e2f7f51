"""The short benchmark: kernel VXLAN behind a bridge, and vxnet, on one bed in one run.

    python -m benchmarks.throughput [--quick] [--peer NAME]... [--json FILE]

TCP with one stream and with four, 64-byte datagrams delivered a second, round-trip times, and what
a gigabyte costs in processor time; interleaved, several rounds, medians and ratios.
"""

from benchmarks.catalogue import THROUGHPUT
from benchmarks.command import Preset, app

__all__ = ["main"]

main = app(
    Preset(
        module="benchmarks.throughput",
        help="Measure vxnet beside kernel VXLAN behind a bridge, on one bed in one run.",
        peers=("kernel", "vxnet-native", "vxnet-pure"),
        questions=THROUGHPUT,
    )
)

if __name__ == "__main__":
    main()
