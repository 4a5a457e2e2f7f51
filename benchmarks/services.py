"""What a service's address costs: `python -m benchmarks.services`.

Two hosts; a client on one, members on the other. One TCP stream each way and connections a second,
to a member through the address of its service and straight to a station beside it, in turns within
one run; and how evenly the connections of one client are spread over ten members.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.bed import MARK, End
from benchmarks.process import in_namespace, program, run, wait_until
from benchmarks.questions.base import tool, wait_for_line
from benchmarks.questions.tcp import PORT, iperf_server, received_bytes
from benchmarks.script import script
from benchmarks.tools.connect import PORT as CONNECT_PORT
from vxnet.api.model import ServiceBody
from vxnet.demo.bed import Bed
from vxnet.demo.cluster import Cluster, Daemon
from vxnet.demo.station import Station

__all__ = ["MOST_UNEVEN", "MUST", "Scene", "main", "scene"]

MUST = 0.9
"""Of what the same way gives without a service, for one native TCP stream."""
MOST_UNEVEN = 0.05
"""How far the member with most or fewest connections may be from the mean."""
MEMBERS = 10
RATE = 10_000.0
"""Connections that are begun a second, to see how they are spread."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A client, a station without services, and the addresses of a service of one and of ten."""

    near: Daemon
    client: Station
    plain: Station
    one: str
    ten: str

    def gigabits(self, address: str, seconds: int, *words: str) -> float:
        """What one TCP stream of the client's brings to its receiver."""
        command = ["iperf3", "-c", address, "-p", str(PORT), "-t", str(seconds), "-J", *words]
        said = run(in_namespace(self.client.sandbox.path, command), timeout_s=seconds + 30)
        size, took = received_bytes(said)
        return size * 8 / took / 1e9

    def connections(self, address: str, seconds: int) -> float:
        """How many the client completes a second."""
        end = End(self.client.sandbox.path, "")
        words = ("open", address, "--seconds", seconds)
        answer = json.loads(run(tool(end, "connect.py", *words), timeout_s=seconds + 30))
        done: float = answer["done"] / answer["seconds"]
        return done

    def begin(self, rate: float, seconds: int) -> tuple[float, float]:
        """How many connections over all members were begun a second, and the share answered."""
        end = End(self.client.sandbox.path, "")
        words = (self.ten, CONNECT_PORT, "--rate", rate, "--seconds", seconds)
        said = json.loads(run(tool(end, "begin.py", *words), timeout_s=seconds + 30))
        return said["begun"] / seconds, said["answered"] / said["begun"]

    def unevenness(self) -> float:
        """Of the flows that the client's host knows, how far a member's are from the mean."""
        flows = [member.flows for member in self.near.client.service("ten").members]
        mean = sum(flows) / MEMBERS
        return max(abs(count - mean) for count in flows) / mean


@contextmanager
def scene(datapath: str) -> Iterator[Scene]:
    """Two hosts with daemons, and everything that answers."""
    with ExitStack() as stack:
        bed = stack.enter_context(Bed(2, direct=True))
        (bed.directory / MARK).touch()
        cluster = Cluster(bed, datapath=datapath)
        cluster.start()
        cluster.wait_for_members()
        near, far = cluster.daemons
        near.create_network("room", ("10.42.0.0/24", "fd42::/64"))
        cluster.wait_for_network("room")
        ports = (f"{PORT}", f"{CONNECT_PORT}")
        vips = [
            near.client.create_service(ServiceBody(name, "room", ports=ports)).vips[0]
            for name in ("one", "ten")
        ]
        client = near.attach("room", name="client")
        plain = far.attach("room", name="plain")
        member = far.attach("room", name="member", services=("one",))
        many = [far.attach("room", name=f"m{n}", services=("ten",)) for n in range(MEMBERS)]
        for station in (plain, member, *many):
            end = End(station.sandbox.path, "")
            log = Path(bed.directory) / f"{station.sandbox.name}.log"
            running = stack.enter_context(program(tool(end, "connect.py", "accept"), log))
            wait_for_line(running, "ready")
        for station in (plain, member):
            directory = Path(bed.directory) / station.sandbox.name
            directory.mkdir()
            stack.enter_context(iperf_server(End(station.sandbox.path, ""), directory))
        stage = Scene(near, client, plain, *vips)
        wait_until(lambda: _is_known(stage), "members everywhere")
        yield stage


def _is_known(stage: Scene) -> bool:
    members = {name: stage.near.client.service(name).members for name in ("one", "ten")}
    return (len(members["one"]), len(members["ten"])) == (1, MEMBERS)


def survey(
    stage: Scene, rounds: int, seconds: int, say: Callable[[str], None]
) -> tuple[float, float]:
    """The share that one stream towards the service has, and how uneven connections are."""
    straight, through = stage.plain.addresses[0], stage.one
    questions: dict[str, Callable[[str], float]] = {
        "TCP to the member, Gbit/s": lambda to: stage.gigabits(to, seconds),
        "TCP from the member, Gbit/s": lambda to: stage.gigabits(to, seconds, "-R"),
        "connections, /s": lambda to: stage.connections(to, seconds),
    }
    shares = {}
    for title, ask in questions.items():
        pairs = [(ask(straight), ask(through)) for _ in range(rounds)]
        shares[title] = median(vip / direct for direct, vip in pairs)
        direct, vip = (median(values) for values in zip(*pairs, strict=True))
        say(f"{title:28} {direct:9.2f} {vip:9.2f}  {shares[title]:.2f}")
    rate, answered = stage.begin(RATE, 4)
    uneven = stage.unevenness()
    say(f"{f'begun over {MEMBERS} members, /s':28} {'':9} {rate:9.2f}  {answered:.2%} answered")
    say(f"{'the farthest from the mean':28} {'':9} {'':9}  {uneven:.1%}")
    return next(iter(shares.values())), uneven


def main() -> int:
    """Exit 0 where the native datapath reaches what it must."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datapath", choices=["native", "pure"], action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    options = parser.parse_args()
    is_met = True
    for datapath in options.datapath or ["native", "pure"]:
        print(f"{datapath:28} {'straight':>9} {'service':>9}  share (medians)")
        with scene(datapath) as stage:
            share, uneven = survey(
                stage, options.rounds, options.seconds, lambda line: print(line, flush=True)
            )
        is_met &= datapath != "native" or (share >= MUST and uneven <= MOST_UNEVEN)
    return 0 if is_met else 1


if __name__ == "__main__":
    script(main)
