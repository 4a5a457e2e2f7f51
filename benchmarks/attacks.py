"""What is left of honest traffic under attack: `python -m benchmarks.attacks`.

Two hosts exchange a paced stream; a third host on the underlay, or a sandbox of the first one,
attacks. For each attack: the stream's rate during it, as a share of its rate right before.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bed import MARK, UNDERLAY
from benchmarks.process import in_namespace, run, wait_until
from benchmarks.script import script
from vxnet.demo.bed import Bed
from vxnet.demo.cluster import Cluster
from vxnet.demo.namespace import Namespace
from vxnet.demo.station import Station
from vxnet.errors import HostError

__all__ = ["OUTSIDE", "Scene", "main", "scene", "survey"]

LEAST = 0.7
"""What has to be left."""

OUTSIDE = ("strangers", "vni-scan", "nonsense", "forged-peer")
INSIDE = ("mac-flood", "arp-spoofing", "broadcast-storm", "unknown-unicast")
TOOL = str(Path(__file__).parent / "tools" / "attack.py")

# Of the honest stream, well below what each datapath carries: the attack must not be told from a
# generator that takes the processor away, on a machine that has to run all of it.
MEGABITS = {"native": 400, "pure": 60}
ATTACK_FRAMES_PER_S = {"native": 20_000, "pure": 10_000}


@dataclass(frozen=True, slots=True)
class Scene:
    """Two honest stations, and where attackers are."""

    cluster: Cluster
    near: Station
    far: Station
    evil: Station
    datapath: str
    vni: int

    def megabits(self, seconds: float) -> float:
        """The rate of the honest stream, as its receiver has it."""
        words = ["iperf3", "-c", self.far.addresses[0], "-t", str(seconds), "-J"]
        words += ["-b", f"{MEGABITS[self.datapath]}M"]
        said = json.loads(run(in_namespace(self.near.sandbox.path, words), timeout_s=seconds + 30))
        if "sum_received" not in said["end"]:
            raise HostError(f"iperf3 measured nothing: {said.get('error', 'it does not say why')}")
        received: float = said["end"]["sum_received"]["bits_per_second"]
        return received / 1e6

    def is_ready(self) -> bool:
        """Whether the far end answers."""
        try:
            return self.megabits(1) > 0
        except HostError:
            return False

    def attack(self, kind: str, seconds: float) -> tuple[Namespace, list[str]]:
        """Where an attack is made from, and its command."""
        place, device = self.evil.sandbox, self.evil.ifname
        words = ["--rate", str(ATTACK_FRAMES_PER_S[self.datapath]), "--seconds", str(seconds)]
        if kind in OUTSIDE:
            first, second, outsider = self.cluster.bed.hosts
            place, device = outsider, UNDERLAY
            shown = json.loads(run(["ip", "-j", "link", "show", UNDERLAY], netns=first.path))
            words += ["--target", first.vtep4, "--vni", str(self.vni)]
            words += ["--target-mac", shown[0]["address"].replace(":", "")]
            words += ["--source", second.vtep4 if kind == "forged-peer" else outsider.vtep4]
        else:
            words += ["--victim", self.far.addresses[0]]
        return place, [sys.executable, TOOL, kind, device, *words]


@contextmanager
def scene(datapath: str) -> Iterator[Scene]:
    """Three hosts, of which two run daemons."""
    with Bed(3) as bed:
        (bed.directory / MARK).touch()
        cluster = Cluster(bed, datapath=datapath)
        del cluster.daemons[2:]
        cluster.start()
        cluster.wait_for_members()
        first, second = cluster.daemons
        vni = first.create_network("room", ("10.42.0.0/24", "fd42::/64")).vni
        cluster.wait_for_network("room")
        near, far = first.attach("room"), second.attach("room")
        evil = first.attach("room", name="evil")
        far.sandbox.popen(["iperf3", "-s"])
        yield Scene(cluster, near, far, evil, datapath, vni or 0)


def survey(
    stage: Scene, kinds: tuple[str, ...], seconds: float, say: Callable[[str], None]
) -> dict[str, float]:
    """The share that is left during each attack."""
    left = {}
    wait_until(stage.is_ready, "iperf3's answer")
    for kind in kinds:
        before = stage.megabits(seconds)
        place, words = stage.attack(kind, seconds + 1)
        attacker = place.popen(words)
        during = stage.megabits(seconds)
        attacker.wait(timeout=30)
        left[kind] = during / before
        say(f"{stage.datapath:8} {kind:16} {before:7.1f} {during:7.1f}  {left[kind]:.0%}")
    return left


def main() -> int:
    """Exit 0 where enough is left in every case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datapath", choices=["native", "pure"], action="append")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()
    print(f"{'datapath':8} {'attack':16} {'before':>7} {'during':>7}  left (Mbit/s)")
    worst = 1.0
    for datapath in options.datapath or ["native", "pure"]:
        with scene(datapath) as stage:
            left = survey(stage, OUTSIDE + INSIDE, options.seconds, partial(print, flush=True))
            worst = min(worst, *left.values())
            for daemon in stage.cluster.daemons:
                problems = daemon.client.verify_stats().problems
                if problems:
                    print(f"{daemon.host.label}: {'; '.join(problems)}")
                    worst = 0.0
    return 0 if worst >= LEAST else 1


if __name__ == "__main__":
    script(main)
