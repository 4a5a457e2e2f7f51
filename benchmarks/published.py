"""Published ports by the daemon's relay and by the packet filter: `python -m benchmarks.published`.

A client, a host and a member, each a namespace, joined by cables. The host passes connections on to
the member: by routing alone (what the member's own address costs), by nftables (DNAT and
masquerading), and by the relay, which speaks as the client. Side by side in every round; medians.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.cpu import metered
from benchmarks.process import in_namespace, program, run, wait_until
from benchmarks.script import script
from vxnet.demo.namespace import Namespace, require_root

__all__ = ["WAYS", "main"]

TOOLS: Final = Path(__file__).parent / "tools"
CONNECT, IPERF = 5303, 5201
HOST, MEMBER = "192.0.2.1", "10.9.0.2"
RULES: Final = f"""
table ip published {{
    chain before {{
        type nat hook prerouting priority dstnat;
        ip daddr {HOST} tcp dport {{ {CONNECT}, {IPERF} }} dnat to {MEMBER}
    }}
    chain after {{
        type nat hook postrouting priority srcnat;
        ct status dnat masquerade
    }}
}}
"""
RELAYED_TABLE: Final = 100
"""Where the host takes for its own what the member answers to the client."""
WAYS: Final = ("routed", "nftables", "relay")

Figures = dict[str, float]


class Scene:
    """The three of them."""

    def __init__(self, stack: ExitStack, log: Path) -> None:
        made = f"vxpub{os.getpid() % 100_000}"
        self._log = log
        self.client, self.host, self.member = (
            self._place(stack, f"{made}-{part}") for part in ("client", "host", "member")
        )
        cables = (
            (self.client, "192.0.2.2/24", self.host, "192.0.2.1/24"),
            (self.host, "10.9.0.1/24", self.member, "10.9.0.2/24"),
        )
        for number, (left, left_ip, right, right_ip) in enumerate(cables):
            near, far = f"n{number}", f"f{number}"
            ends = ["netns", left.name, "type", "veth", "peer", "name", far, "netns", right.name]
            run(["ip", "link", "add", near, *ends])
            for place, device, address in ((left, near, left_ip), (right, far, right_ip)):
                run(["ip", "-n", place.name, "address", "add", address, "dev", device])
                run(["ip", "-n", place.name, "link", "set", device, "up"])
        for place, gateway in ((self.client, HOST), (self.member, "10.9.0.1")):
            run(["ip", "-n", place.name, "route", "add", "default", "via", gateway])
        self.host.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])

    @contextmanager
    def way(self, name: str) -> Iterator[str]:
        """Have the host pass on so: to which address the client turns."""
        with ExitStack() as stack:
            if name == "routed":
                yield MEMBER
                return
            if name == "nftables":
                self.host.run(["nft", "-f", "-"], input_text=RULES)
                stack.callback(self.host.run, ["nft", "delete", "table", "ip", "published"])
                yield HOST
                return
            # In the daemon's own namespace there is nothing but the relay, and no rule is needed.
            rule = ["iif", "n1", "lookup", str(RELAYED_TABLE)]
            route = ["local", "default", "dev", "lo", "table", str(RELAYED_TABLE)]
            for what, words in (("rule", rule), ("route", route)):
                run(["ip", "-n", self.host.name, what, "add", *words])
                stack.callback(run, ["ip", "-n", self.host.name, what, "del", *words])
            command = [sys.executable, str(TOOLS / "relay.py"), MEMBER, str(CONNECT), str(IPERF)]
            started = stack.enter_context(program(command, self._log, netns=self.host.path))
            wait_until(lambda: "ready" in started.said(), "the relay is there")
            yield HOST

    def measure(self, name: str, seconds: int) -> Figures:
        """One round of one way."""
        with self.way(name) as address:
            words = [sys.executable, str(TOOLS / "connect.py"), "open", address]
            words += ["--seconds", str(seconds)]
            opened = json.loads(run(in_namespace(self.client.path, words)))
            words = ["iperf3", "-c", address, "-t", str(seconds), "-J"]
            with metered() as meter:
                said = json.loads(run(in_namespace(self.client.path, words)))
        received = said["end"]["sum_received"]
        return {
            "Gbit/s": received["bits_per_second"] / 1e9,
            "CPU s/GB": meter.busy_s / (received["bytes"] / 1e9),
            "connections/s": opened["done"] / opened["seconds"],
            "failed": opened["failed"],
        }

    @staticmethod
    def _place(stack: ExitStack, name: str) -> Namespace:
        place = Namespace(name)
        stack.callback(place.remove)
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        return place


def survey(rounds: int, seconds: int, say: Callable[[str], None]) -> dict[str, Figures]:
    """The median of each figure of each way."""
    found: dict[str, list[Figures]] = {name: [] for name in WAYS}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scene = Scene(stack, directory / "relay")
        server = [sys.executable, str(TOOLS / "connect.py"), "accept"]
        there = stack.enter_context(program(server, directory / "accept", netns=scene.member.path))
        stack.enter_context(program(["iperf3", "-s"], directory / "s", netns=scene.member.path))
        wait_until(lambda: "ready" in there.said(), "the member is there")
        for _ in range(rounds):
            for name in WAYS:
                found[name].append(scene.measure(name, seconds))
                say(f"{name:9}" + "".join(f"{v:9.2f} {k}" for k, v in found[name][-1].items()))
    return {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in found.items()
    }


def main() -> int:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    options = parser.parse_args()
    require_root()
    medians = survey(options.rounds, options.seconds, lambda line: print(line, flush=True))
    print(f"\n{'':9}" + "".join(f"{key:>15}" for key in medians["relay"]))
    for name, row in medians.items():
        print(f"{name:9}" + "".join(f"{value:15.2f}" for value in row.values()))
    return 0


if __name__ == "__main__":
    script(main)
