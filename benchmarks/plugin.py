"""How fast Docker is answered: `python -m benchmarks.plugin`.

The calls that dockerd makes for containers that come and go, to a daemon whose only peer has died:
with real TAPs, moved into sandboxes and back as dockerd does it.
"""

import argparse
import json
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.bed import two_hosts
from benchmarks.lock import alone
from benchmarks.process import run
from benchmarks.script import script
from benchmarks.stats import quantile
from vxnet.api.client import UnixConnection
from vxnet.demo.bed import Host
from vxnet.demo.cluster import Cluster
from vxnet.errors import HostError

__all__ = ["LIMIT_MS", "Dockerd", "main", "measure", "served"]

LIMIT_MS: Final = 200.0
"""What the slowest call of a hundred may take."""

NETWORK, SUBNET = "bed", "10.42.0.0/16"
SETTINGS: Final = '[docker]\nenabled = true\napi = ""\nsocket = "{}"\n'
PORT, FIRST_PORT = 80, 20_000
STAYS_S: Final = 0.25
"""As long as a container runs; vxnet looks after its device meanwhile."""

Took = dict[str, list[float]]
"""Milliseconds, by the kind of the call."""


class Dockerd:
    """Makes the calls of a dockerd, and does with devices what it does."""

    def __init__(self, host: Host, plugin: Path) -> None:
        self._host = host
        self._plugin = plugin
        self._connection = UnixConnection(str(plugin), 60.0)
        self.took: Took = defaultdict(list)

    def another(self) -> "Dockerd":
        """Another connection to the same plugin."""
        return Dockerd(self._host, self._plugin)

    def call(self, kind: str, **message: Any) -> dict[str, Any]:
        """One call. Raises HostError where it is refused."""
        began = time.perf_counter()
        self._connection.request("POST", f"/{kind}", json.dumps(message))
        said: dict[str, Any] = json.loads(self._connection.getresponse().read())
        self.took[kind.partition(".")[2]].append((time.perf_counter() - began) * 1000)
        if said.get("Err"):
            raise HostError(f"{kind} was refused: {said['Err']}")
        return said

    def network(self) -> tuple[str, str]:
        """`docker network create --ipam-driver vxnet`: its id, and its pool's."""
        named = {"network": NETWORK}
        found = self.call("IpamDriver.RequestPool", Pool=SUBNET, Options=named)
        pool, network = found["PoolID"], secrets.token_hex(32)
        gateway = self.call(
            "IpamDriver.RequestAddress",
            PoolID=pool,
            Options={"RequestAddressType": "com.docker.network.gateway"},
        )["Address"]
        options = {"com.docker.network.generic": named}
        data = [{"AddressSpace": "vxnet", "Pool": SUBNET, "Gateway": gateway}]
        self.call(
            "NetworkDriver.CreateNetwork",
            NetworkID=network,
            Options=options,
            IPv4Data=data,
            IPv6Data=[],
        )
        return network, pool

    def run(self, network: str, pool: str, number: int, published: int = 0) -> None:
        """`docker run --rm`, from its first call to its last."""
        names = {"NetworkID": network, "EndpointID": secrets.token_hex(32)}
        address = self.call("IpamDriver.RequestAddress", PoolID=pool, Options={})["Address"]
        interface = {"Address": address, "AddressIPv6": "", "MacAddress": ""}
        made = self.call("NetworkDriver.CreateEndpoint", **names, Interface=interface, Options={})
        box = self._host.sandbox(f"box{number}")
        joined = self.call("NetworkDriver.Join", **names, SandboxKey=str(box.path), Options={})
        device = joined["InterfaceName"]["SrcName"]
        words = ["ip", "link", "set", device, "netns", box.name, "name", "eth0"]
        run([*words, "address", made["Interface"]["MacAddress"]], netns=self._host.path)
        batch = f"addr add {address} dev eth0\nlink set eth0 up\n"
        run(["ip", "-netns", box.name, "-batch", "-"], given=batch)
        ports = [{"Proto": 6, "Port": PORT, "HostPort": published}] if published else []
        options = {"com.docker.network.portmap": ports}
        self.call("NetworkDriver.ProgramExternalConnectivity", **names, Options=options)
        for _ in range(2):
            self.call("NetworkDriver.EndpointOperInfo", **names)
        time.sleep(STAYS_S)
        self.call("NetworkDriver.RevokeExternalConnectivity", **names)
        self.call("NetworkDriver.Leave", **names)
        words = ["ip", "link", "set", "eth0", "down", "name", device, "netns", self._host.name]
        run(words, netns=box.path)
        self.call("NetworkDriver.DeleteEndpoint", **names)
        self.call("IpamDriver.ReleaseAddress", PoolID=pool, Address=address.partition("/")[0])


@contextmanager
def served() -> Iterator[tuple[Dockerd, str, str]]:
    """A host with a network and its pool; the host that has half of the addresses is dead."""
    with two_hosts() as bed:
        cluster = Cluster(bed)
        cluster.start()
        cluster.wait_for_members()
        first, second = cluster.daemons
        first.stop()
        plugin = first.host.directory / "plugin.sock"
        with first.config.open("a") as config:
            config.write(SETTINGS.format(plugin))
        first.start()
        first.wait_until_ready()
        cluster.wait_for_members()
        dockerd = Dockerd(first.host, plugin)
        network, pool = dockerd.network()
        cluster.wait_for_network(NETWORK)
        second.kill()
        yield dockerd, network, pool
        dockerd.call("NetworkDriver.DeleteNetwork", NetworkID=network)
        dockerd.call("IpamDriver.ReleasePool", PoolID=pool)


def measure(dockerd: Dockerd, network: str, pool: str, cycles: int, at_once: int) -> None:
    """Have containers come and go, so many of them at a time."""

    def come_and_go(number: int) -> Took:
        one = dockerd.another()
        for cycle in range(cycles // at_once):
            one.run(network, pool, number, FIRST_PORT + number if cycle % 2 else 0)
        return one.took

    with ThreadPoolExecutor(at_once) as threads:
        for took in threads.map(come_and_go, range(at_once)):
            for kind, values in took.items():
                dockerd.took[kind].extend(values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 where every kind of call is answered in time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cycles", type=int, default=200, help="containers that come and go")
    parser.add_argument("--at-once", type=int, default=4, help="so many of them at a time")
    options = parser.parse_args(arguments)
    waiting = partial(print, "another benchmark runs; waiting for it", file=sys.stderr)
    with alone(waiting), served() as (dockerd, network, pool):
        measure(dockerd, network, pool, options.cycles, options.at_once)
    took = dockerd.took
    print(f"{'call':30} {'calls':>5} {'p50':>7} {'p99':>7} {'longest':>7}  ms")
    for kind, values in took.items():
        marks = (quantile(values, 0.5), quantile(values, 0.99), max(values))
        print(f"{kind:30} {len(values):5}", *(f"{mark:7.1f}" for mark in marks))
    slow = [kind for kind, values in took.items() if quantile(values, 0.99) >= LIMIT_MS]
    if slow:
        print(f"at {LIMIT_MS:.0f} ms or above: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    script(main)
