"""What a kernel with ipvlan and 802.1Q is asked to do, by two hosts of a bed inside a VM.

Run as a program there; each line it prints is a JSON pair of what was tried, and what was seen.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from vxnet.api.model import AttachBody, EndpointBody, JoinBody, NetworkBody
from vxnet.demo.bed import UNDERLAY, Bed
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping, transfer
from vxnet.errors import HostError, VxnetError

OCTETS = 2_000_000
BEGAN = time.monotonic()


def tell(tried: str, seen: object) -> None:
    print(json.dumps([tried, seen]), flush=True)
    print(f"{time.monotonic() - BEGAN:6.1f} s  {tried}", file=sys.stderr, flush=True)


def refusal(work: Callable[[], object]) -> str:
    """What somebody is told who tries this; nothing where it is done."""
    try:
        work()
    except VxnetError as error:
        return str(error)
    return ""


def make(daemon: Daemon, name: str, driver: str, number: int, **options: str) -> None:
    daemon.client.create_network(
        NetworkBody(
            name,
            driver=driver,
            subnets=(f"10.{number}.0.0/24", f"fd00:{number}::/64"),
            options={"parent": UNDERLAY, **options},
        )
    )


def remove(daemon: Daemon, name: str) -> None:
    """Once it is heard that other hosts have no endpoint left in it."""
    gone = partial(daemon.client.remove_network, name)
    wait_for(lambda: not refusal(gone), 120, f"{name} is removed")


def mac_of(place: Namespace, device: str) -> str:
    return str(json.loads(place.run(["ip", "-j", "link", "show", device]).stdout)[0]["address"])


def devices(place: Namespace) -> list[str]:
    return sorted(link["ifname"] for link in json.loads(place.run(["ip", "-j", "link"]).stdout))


def reached(source: Station, target: Station) -> list[bool]:
    """Over both versions of IP. The first question may be lost to the search for a neighbour."""
    return [ping(source, address, count=3) is not None for address in target.addresses]


def lead(daemon: Daemon, station: Station, via: Daemon) -> None:
    """Tell a host behind which other one a station is; l3 and l3s leave that to the routers."""
    for address, next_hop in zip(station.addresses, (via.host.vtep4, via.host.vtep6), strict=True):
        daemon.host.run(["ip", "route", "add", address, "via", next_hop])


def carried(source: Station, target: Station) -> bool:
    """Whether what one sends is what the other gets."""
    return transfer(source, target, target.addresses[0], OCTETS, timeout_s=120).intact


def in_l2(cluster: Cluster) -> None:
    near, far = cluster.daemons
    make(near, "flat", "ipvlan", 21)
    cluster.wait_for_network("flat", 120)
    one, two = near.attach("flat", name="one"), near.attach("flat", name="two")
    there = far.attach("flat", name="there")
    for station, daemon in ((one, near), (two, near), (there, far)):
        tell(
            f"{station.label} has its parent's MAC",
            mac_of(station.sandbox, "eth0") == mac_of(daemon.host, UNDERLAY),
        )
    tell("l2 on one host", reached(one, two))
    tell("l2 across hosts", reached(one, there) + reached(there, two))
    tell("l2 carries", carried(one, there))

    make(near, "routed", "ipvlan", 22, mode="l3")
    elsewhere = near.host.sandbox("elsewhere")
    tell(
        "another mode on a parent in use",
        refusal(
            lambda: near.client.attach(
                AttachBody(EndpointBody("routed"), JoinBody("netns", elsewhere.name))
            )
        ),
    )
    tell("l2 goes on", reached(one, there))

    near.kill()
    near.start()
    near.wait_until_ready()
    tell("after a kill -9", reached(one, there) + reached(there, two))
    tell(
        "another mode after a kill -9",
        refusal(
            lambda: near.client.attach(
                AttachBody(EndpointBody("routed"), JoinBody("netns", elsewhere.name))
            )
        ),
    )
    for daemon, station in ((near, one), (near, two), (far, there)):
        daemon.detach(station)
    tell("left in a sandbox", devices(one.sandbox))
    remove(near, "routed")
    remove(near, "flat")


def routed(cluster: Cluster, mode: str, number: int) -> None:
    near, far = cluster.daemons
    make(near, mode, "ipvlan", number, mode=mode)
    cluster.wait_for_network(mode, 120)
    one, two = near.attach(mode, name=f"{mode}a"), near.attach(mode, name=f"{mode}b")
    there = far.attach(mode, name=f"{mode}c")
    lead(near, there, far)
    lead(far, one, near)
    tell(f"{mode} on one host", reached(one, two))
    tell(f"{mode} across hosts", reached(one, there) + reached(there, one))
    tell(f"{mode} carries", carried(there, one))
    for daemon, station in ((near, one), (near, two), (far, there)):
        daemon.detach(station)
    remove(near, mode)


def on_a_vlan(cluster: Cluster) -> None:
    near, far = cluster.daemons
    for name, driver, number in (("tagged", "macvlan", 31), ("thin", "ipvlan", 32)):
        make(near, name, driver, number, vlan=str(number))
        cluster.wait_for_network(name, 120)
        here, there = near.attach(name, name=f"{name}a"), far.attach(name, name=f"{name}b")
        tell(f"{driver} on a VLAN", reached(here, there))
        (sub,) = (device for device in devices(near.host) if device.startswith("vxv"))
        shown = near.host.run(["ip", "-d", "link", "show", sub]).stdout
        tell(f"{driver} on a VLAN has the tag", f"vlan protocol 802.1Q id {number} " in shown)
        near.detach(here)
        far.detach(there)
        remove(near, name)


def main() -> None:
    with Bed(2) as bed:
        cluster = Cluster(bed, settings='profile = "wan"')
        cluster.start()
        cluster.wait_for_members(120)
        near = cluster.daemons[0]
        tell("lacks", {view.name: view.lacks for view in near.client.drivers()})
        before = [devices(daemon.host) for daemon in cluster.daemons]
        in_l2(cluster)
        routed(cluster, "l3", 23)
        routed(cluster, "l3s", 24)
        on_a_vlan(cluster)
        with suppress(HostError):  # the other host removes its VLANs when it hears
            wait_for(
                lambda: [devices(daemon.host) for daemon in cluster.daemons] == before,
                60,
                "nothing is left",
            )
        tell("left", [devices(daemon.host) for daemon in cluster.daemons])
        tell("before", before)


main()
