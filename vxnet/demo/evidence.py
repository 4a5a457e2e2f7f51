"""The checks that show how it is done: packets on the wire, tables, and an idle kernel."""

import socket
from collections.abc import Iterator

from pyroute2.iproute.linux import IPRoute

from vxnet.demo.capture import Capture
from vxnet.demo.cluster import address_of, as_table_row
from vxnet.demo.namespace import Namespace
from vxnet.demo.report import Finding
from vxnet.demo.stage import Check, Stage
from vxnet.demo.traffic import exchange, ping, shout, transfer

__all__ = ["KERNEL", "TABLE", "WIRE"]

FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
WANTED = {"ICMP", "ICMPv6", "TCP", "UDP"}
KERNEL_SWITCHES = ("bridge", "openvswitch", "vxlan")


def packets_read(stage: Stage) -> Finding:
    """What crosses the underlay is plain VXLAN between the right hosts, checksums valid inside."""
    cluster, source, target = stage.cluster, stage.stations[0], stage.stations[1]
    with Capture(source.host, cluster.port) as capture:
        for address in target.addresses:
            ping(source, address)
            exchange(source, target, address, [100])
        transfer(source, target, target.addresses[0], 1000)
        shout(source, stage.stations[1:], socket.AF_INET)
    sightings = stage.sightings = capture.sightings()
    # The other network may still ask for a neighbour it has not got, from the check before.
    vnis = {network.vni for network in cluster.daemons[0].networks()}
    vteps = {daemon.vtep for daemon in cluster.daemons}
    vni = cluster.vni_of(source.network)
    ours = [s for s in sightings if s.vni == vni]
    layers = {layer.split()[0] for s in ours for layer in s.inner.split(" / ")}
    kinds = layers & WANTED
    strangers = [
        s for s in sightings if s.vni not in vnis or not {s.outer_source, s.outer_target} <= vteps
    ]
    broken = [s for s in sightings if not s.inner_checksums_ok]
    return Finding(
        not strangers and not broken and kinds == WANTED,
        f"{len(ours)} VXLAN packets with VNI {vni}, holding {', '.join(sorted(kinds))}; "
        f"{len(broken)} with a wrong inner checksum, {len(strangers)} that do not belong",
        {"packets": len(ours), "kinds": sorted(kinds), "broken": len(broken)},
    )


def tables_agree(stage: Stage) -> Finding:
    """Every host knows every station of the main network, behind the right VTEP."""
    cluster = stage.cluster
    wrong = []
    for daemon in cluster.daemons:
        rows = daemon.fdb()
        stage.tables[daemon.host.label] = [as_table_row(row) for row in rows]
        for station in stage.stations:
            found = [r for r in rows if (r.network, r.mac) == (station.network, station.mac)]
            home = cluster.daemon_of(station.host)
            expected = None if home is daemon else home.vtep
            if not (
                len(found) == 1
                and address_of(found[0].vtep) == expected
                and set(station.addresses) <= set(found[0].ips)
            ):
                wrong.append(f"{daemon.host.label} has {found or 'nothing'} for {station.label}")
    rows_in_all = sum(map(len, stage.tables.values()))
    return Finding(
        rows_in_all > 0 and not wrong,
        "; ".join(wrong[:3])
        or f"{rows_in_all} rows on {len(stage.tables)} hosts, each station behind its own VTEP",
        {"rows": rows_in_all, "wrong": wrong},
    )


def kernel_idle(stage: Stage) -> Finding:
    """No host's namespace, nor any sandbox, has a vxlan device, a bridge or forwarding."""
    found = [
        text
        for host in stage.cluster.bed.hosts
        for place in (host, *host.sandboxes.values())
        for text in (*_switches(place), *_forwarding(place))
    ]
    places = sum(1 + len(host.sandboxes) for host in stage.cluster.bed.hosts)
    return Finding(
        not found,
        "; ".join(found)
        or f"{places} namespaces looked at: no vxlan device, no bridge, ip_forward 0",
        {"namespaces": places, "found": found},
    )


def _switches(place: Namespace) -> Iterator[str]:
    with IPRoute(netns=place.name) as netlink:
        for link in netlink.link("dump"):
            kind = link.get_nested("linkinfo", "kind")
            if kind in KERNEL_SWITCHES:
                yield f"{place.name} has {link.get('ifname')}, a {kind} device"


def _forwarding(place: Namespace) -> Iterator[str]:
    for key in FORWARDING:
        value = place.read_sysctl(key)
        if value != "0":
            yield f"{place.name} has {key} {value}"


WIRE = Check("wire", "Packets on the underlay, decoded", packets_read)
TABLE = Check("table", "The MAC/IP to VTEP table of each host", tables_agree)
KERNEL = Check("kernel", "The kernel did none of it", kernel_idle)
