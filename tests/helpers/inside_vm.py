"""Runs inside a virtual machine, whose kernel has ipvlan and VLANs: those drivers on two hosts.

usage: python inside_vm.py; prints a JSON object: what was tried, and what was seen.
"""

import json
import subprocess
import sys
from collections.abc import Callable

from vxnet.api.model import AttachBody, EndpointBody, JoinBody, NetworkBody
from vxnet.demo import cluster as clusters
from vxnet.demo.bed import UNDERLAY, Bed
from vxnet.demo.cluster import Cluster, Daemon
from vxnet.demo.namespace import Namespace
from vxnet.errors import HostError, VxnetError

clusters.READY_WITHIN_S = 240.0  # everything is emulated
WAIT_S = 20


class Tries:
    """What is to be seen of each network, one after the other on one parent device."""

    def __init__(self, cluster: Cluster) -> None:
        self.one, self.two = cluster.daemons
        self.cluster = cluster
        self.seen: dict[str, str] = {}

    def make(self, name: str, driver: str, subnet: str, **options: str) -> None:
        self.one.client.create_network(
            NetworkBody(
                name, driver=driver, subnets=(subnet,), options={"parent": UNDERLAY, **options}
            )
        )
        self.cluster.wait_for_network(name, 60)

    def attach(self, daemon: Daemon, network: str, name: str) -> tuple[Namespace, str]:
        sandbox = daemon.host.sandbox(name)
        endpoint = daemon.client.attach(
            AttachBody(EndpointBody(network, name=name), JoinBody("netns", sandbox.name))
        )
        return sandbox, endpoint.addresses[0].split("/")[0]

    def away(self, network: str) -> None:
        for daemon in (self.one, self.two):
            for endpoint in daemon.client.endpoints(network):
                daemon.client.remove_endpoint(endpoint.id)
        clusters.wait_for(lambda: self._removed(network), 60, f"{network} is gone")

    def _removed(self, network: str) -> bool:
        try:
            self.one.client.remove_network(network)
        except VxnetError:
            return False
        return True

    def note(self, title: str, look: Callable[[], str]) -> None:
        try:
            self.seen[title] = look()
        except (HostError, VxnetError, AssertionError) as error:
            self.seen[title] = f"FAILED: {error}"


def mac(place: Namespace, device: str) -> str:
    shown = place.run(["ip", "-o", "link", "show", device]).stdout
    return shown.split("link/ether ")[1].split()[0]


def ping(source: Namespace, address: str) -> None:
    source.run(["ping", "-c", "1", "-W", str(WAIT_S), address], timeout_s=WAIT_S + 20)


def l2(tries: Tries) -> str:
    tries.make("flat", "ipvlan", "192.0.2.128/25", mode="l2")
    one, mine = tries.attach(tries.one, "flat", "a")
    two, theirs = tries.attach(tries.two, "flat", "b")
    ping(one, theirs)
    ping(two, mine)
    assert mac(one, "eth0") == mac(tries.one.host, UNDERLAY), "the MAC is not the parent's"
    tries.away("flat")
    return "two hosts reach each other, each behind its parent's MAC"


def l3(tries: Tries, mode: str) -> str:
    tries.make(mode, "ipvlan", "10.20.0.0/24", mode=mode)
    one, _ = tries.attach(tries.one, mode, "a")
    _, other = tries.attach(tries.one, mode, "c")
    ping(one, other)
    detail = one.run(["ip", "-d", "-o", "link", "show", "eth0"]).stdout
    assert f" mode {mode} " in detail, detail
    assert "default dev eth0" in one.run(["ip", "route"]).stdout
    # The other host has been told the way, as an operator would; the kernel routes the rest.
    tries.two.host.run(["ip", "route", "add", "10.20.0.0/24", "via", tries.one.vtep])
    ping(one, tries.two.vtep)
    tries.two.host.run(["ip", "route", "del", "10.20.0.0/24"])
    tries.away(mode)
    return f"endpoints of one host in mode {mode} reach each other, and another host by a route"


def vlan(tries: Tries) -> str:
    tries.make("tagged", "macvlan", "10.21.0.0/24", vlan="42")
    one, _ = tries.attach(tries.one, "tagged", "a")
    _, theirs = tries.attach(tries.two, "tagged", "b")
    ping(one, theirs)
    links = tries.one.host.run(["ip", "-d", "-o", "link", "show", "type", "vlan"]).stdout
    assert " id 42 " in links, links
    tries.away("tagged")
    left = tries.one.host.run(["ip", "-o", "link", "show", "type", "vlan"]).stdout
    assert not left, left
    return "two hosts reach each other in VLAN 42; the sub-interface went with the network"


def main() -> int:
    for module in ("ipvlan", "macvlan", "8021q", "veth", "bridge", "tun"):
        subprocess.run(["modprobe", module], check=True)
    with Bed(2) as bed:
        cluster = Cluster(bed, datapath="pure")
        cluster.start()
        cluster.wait_for_members(120)
        tries = Tries(cluster)
        tries.note("ipvlan l2", lambda: l2(tries))
        tries.note("ipvlan l3", lambda: l3(tries, "l3"))
        tries.note("ipvlan l3s", lambda: l3(tries, "l3s"))
        tries.note("macvlan vlan", lambda: vlan(tries))
        print(json.dumps(tries.seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
