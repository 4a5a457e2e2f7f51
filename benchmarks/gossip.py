"""vxnet's gossip beside Serf: real processes on one machine, thirty and a hundred of each.

    python -m benchmarks.gossip [--quick] [--install] [--report FOLDER] [--peer NAME]...

The datapath is left out: an agent is the daemon's control plane with its real sockets, on the
loopback of a network namespace. What Serf does not know of (stations, their moves) is asked of
four agents of vxnet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bed import two_hosts
from benchmarks.clusters.base import Cluster, Crowd
from benchmarks.clusters.serf import SerfAgent
from benchmarks.clusters.vxnet import VxnetAgent
from benchmarks.command import Preset, app
from benchmarks.questions.membership import Heal, Join, Kill, Pause
from benchmarks.questions.rows import Burst, Move, Return
from benchmarks.questions.spreading import Cost, Updates
from benchmarks.report import About

__all__ = ["PEERS", "QUESTIONS", "main"]

PEERS = (
    Crowd(SerfAgent, 30),
    Crowd(VxnetAgent, 30),
    Crowd(SerfAgent, 100),
    Crowd(VxnetAgent, 100),
    Crowd(VxnetAgent, 4, for_stations=True),
    Crowd(SerfAgent, 3),
    Crowd(VxnetAgent, 3),
)
QUESTIONS = (Join(), Updates(), Cost(), Pause(), Heal(), Burst(), Move(), Return(), Kill())
"""In the order in which they are asked: who is killed does not come back."""

METHOD = """
Every round starts every cluster anew, all agents in one network namespace, each with an address on
its loopback, all with AES-256. They run before they are told to join, so that the start of a
process does not count. What agents know is taken from what they say on their standard output, at
the moment it is read: of Serf that is its log, because its event handlers hear of members late on
purpose. Partitions are made by a packet filter that drops on arrival. Bytes are counted from the IP
header on, memory is the resident set, as if each agent were alone on its machine. An update is
a station with vxnet and a user event with Serf. Everything has the settings that it comes with.
"""


@contextmanager
def one_machine(crowd: Crowd, mtu: int) -> Iterator[tuple[Cluster, Path]]:
    """The stage of clusters: all agents on the first host of a bed."""
    with two_hosts(mtu) as bed, crowd.joined(bed) as cluster:
        yield cluster, bed.directory


main = app(
    Preset(
        module="benchmarks.gossip",
        help="Measure vxnet's gossip beside Serf.",
        known_peers=PEERS,
        known_questions=QUESTIONS,
        peers=("serf-30", "vxnet-30", "serf-100", "vxnet-100", "vxnet-4"),
        rounds=3,
        seconds=20,
        quick_peers=("serf-30", "vxnet-30", "vxnet-4"),
        quick_questions=("join", "update", "cost", "burst", "move", "kill"),
        quick_rounds=1,
        quick_seconds=10,
        stage=one_machine,
        tools=("ip", "nft", "nsenter", "setpriv"),
        about=About("vxnet's gossip beside Serf", METHOD, ("update.p50", "kill.s", "heal.s")),
    )
)

if __name__ == "__main__":
    main()
