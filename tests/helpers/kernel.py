"""Linux's own vxlan device on a host of a bed: the oracle of interoperability."""

import ipaddress
from collections.abc import Sequence

from pyroute2.iproute.linux import IPRoute

from vxnet.demo.bed import Host
from vxnet.demo.station import Station

__all__ = ["add_kernel_vtep", "kernel_knows"]

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


def kernel_knows(station: Station, mac: str) -> str | None:
    """The VTEP that the device has learned for a MAC."""
    with IPRoute(netns=station.host.name) as netlink:
        [index] = netlink.link_lookup(ifname=DEVICE)
        for row in netlink.fdb("dump", ifindex=index):
            if row.get("lladdr") == mac:
                found: str | None = row.get("dst")
                return found
    return None
