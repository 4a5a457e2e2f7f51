"""Linux's own vxlan device on a host of a bed: the oracle of interoperability."""

import ipaddress
import json
import re
import shlex
from collections.abc import Sequence

from pyroute2.iproute.linux import IPRoute

from vxnet.demo.bed import Host
from vxnet.demo.station import Station

__all__ = ["DEVICE", "add_kernel_vtep", "kernel_knows", "kernel_station", "mac_of"]

DEVICE = "kernel0"
ZERO_MAC = "00:00:00:00:00:00"


def add_kernel_vtep(
    host: Host,
    *,
    vni: int,
    remotes: Sequence[str],
    ipv4: str,
    ipv6: str,
    port: int = 4789,
    mtu: int = 1430,
) -> Station:
    """Give a host a vxlan device that floods to `remotes` and learns; the station behind it.

    `ipv4` and `ipv6` carry their prefix lengths. Outer addresses are of the remotes' version.
    """
    outer = ipaddress.ip_address(remotes[0]).version
    local = {"vxlan_local6": host.vtep6} if outer == 6 else {"vxlan_local": host.vtep4}
    with IPRoute(netns=host.name) as netlink:
        netlink.link(
            "add",
            ifname=DEVICE,
            kind="vxlan",
            vxlan_id=vni,
            vxlan_port=port,
            vxlan_learning=1,
            mtu=mtu,
            **local,
        )
        [index] = netlink.link_lookup(ifname=DEVICE)
        for remote in remotes:
            netlink.fdb("append", ifindex=index, lladdr=ZERO_MAC, dst=remote)
        netlink.link("set", index=index, state="up")
        for text, flags in ((ipv4, 0), (ipv6, 0x02)):
            address = ipaddress.ip_interface(text)
            prefixlen = address.network.prefixlen
            netlink.addr(
                "add", index=index, address=str(address.ip), prefixlen=prefixlen, flags=flags
            )
        mac = netlink.link("get", index=index)[0].get("address")
    return Station(
        label=f"{host.label}/kernel",
        network=f"vni{vni}",
        host=host,
        sandbox=host,
        ifname=DEVICE,
        endpoint="",
        mac=mac,
        ipv4=ipaddress.IPv4Interface(ipv4),
        ipv6=ipaddress.IPv6Interface(ipv6),
    )


def kernel_station(host: Host, commands: Sequence[str], ipv4: str, ipv6: str) -> Station:
    """The station behind the vxlan device that `vxnet network export` tells how to make."""
    made = re.findall(r"^ip link add (\S+)", commands[0])[0]
    for line in commands:
        host.run(shlex.split(line))
    host.run(["ip", "link", "set", made, "down", "name", DEVICE])
    host.run(["ip", "link", "set", DEVICE, "up"])
    for address in (ipv4, ipv6):
        nodad = ["nodad"] if ":" in address else []
        host.run(["ip", "address", "add", address, "dev", DEVICE, *nodad])
    mac = mac_of(host, DEVICE)
    return Station(
        label=f"{host.label}/kernel",
        network="kernel",
        host=host,
        sandbox=host,
        ifname=DEVICE,
        endpoint="",
        mac=mac,
        ipv4=ipaddress.IPv4Interface(ipv4),
        ipv6=ipaddress.IPv6Interface(ipv6),
    )


def mac_of(host: Host, device: str) -> str:
    """A device's address, as the tools of the host's namespace tell it."""
    [link] = json.loads(host.run(["ip", "-j", "link", "show", device]).stdout)
    mac: str = link["address"]
    return mac


def kernel_knows(station: Station, mac: str) -> str | None:
    """The VTEP that the device has learned for a MAC."""
    with IPRoute(netns=station.host.name) as netlink:
        [index] = netlink.link_lookup(ifname=DEVICE)
        for row in netlink.fdb("dump", ifindex=index):
            if row.get("lladdr") == mac:
                found: str | None = row.get("dst")
                return found
    return None
