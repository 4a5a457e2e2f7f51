"""A datapath with real TAPs on a host of a bed, in a thread that lives there."""

import asyncio
import ipaddress
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import uvloop
from pyroute2 import netns
from pyroute2.iproute.linux import IPRoute

from vxnet.datapath.base import Datapath, Peer, Port, Segment, SetEntry, SetPeers, Stats
from vxnet.datapath.select import select
from vxnet.demo.bed import Host
from vxnet.demo.station import Station
from vxnet.link.tap import Tap
from vxnet.switch.actions import PortId
from vxnet.wire.addr import Mac, Vni, Vtep, parse_ip

__all__ = ["Carrier", "connect"]

VNI = Vni(42)
IFNAME = "eth0"
_DEADLINE_S = 30.0
_IFA_F_NODAD = 0x02

T = TypeVar("T")


class Carrier:
    """One host's datapath and its one station, from `with` to its end.

    The event loop runs in a thread inside the host's namespace, so whatever the datapath opens is
    there. `version` is the underlay's.
    """

    def __init__(self, host: Host, kind: str, *, version: int = 4, mtu: int = 1450) -> None:
        self.host = host
        self.mac = Mac(bytes((2, 0, 0, 0, 0, host.number)))
        self.vtep = Vtep(parse_ip(host.vtep4 if version == 4 else host.vtep6), 4789)
        self.datapath: Datapath = select(kind, self.vtep)[0]
        self.station = Station(
            label=f"{host.label}/blue",
            network="blue",
            host=host,
            sandbox=host.sandbox("blue"),
            ifname=IFNAME,
            endpoint="",
            mac=self.mac.hex(":"),
            ipv4=ipaddress.IPv4Interface(f"10.9.0.{host.number}/24"),
            ipv6=ipaddress.IPv6Interface(f"fd00:9::{host.number}/64"),
        )
        self._mtu = mtu
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._live, name=f"carrier-{host.label}")

    def __enter__(self) -> "Carrier":
        self._thread.start()
        self.do(self.datapath.start)
        self.do(lambda: self.datapath.set_segment(Segment(VNI, self._mtu)))
        tap = self.do(lambda: Tap.open("vxtap%d"))
        self._furnish(tap.name)
        self.do(lambda: self.datapath.add_port(Port(PortId(1), VNI, self.mac), tap))
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.datapath.close(), self._loop).result(_DEADLINE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, function: Callable[[], "asyncio.Future[T] | T"]) -> T:
        """Call something on the host's event loop, and wait for it."""
        done: Future[T] = Future()

        async def run() -> None:
            try:
                result = function()
                done.set_result(await result if asyncio.iscoroutine(result) else result)
            except BaseException as error:  # told to the caller
                done.set_exception(error)

        asyncio.run_coroutine_threadsafe(run(), self._loop)
        return done.result(_DEADLINE_S)

    @property
    def stats(self) -> Stats:
        return self.do(self.datapath.stats)

    def until(self, holds: Callable[[Stats], bool]) -> None:
        """Wait until something is true of the counters."""
        deadline = time.monotonic() + _DEADLINE_S
        while not holds(self.stats):
            assert time.monotonic() < deadline, f"it never came to hold; {self.stats}"
            time.sleep(0.02)

    def _live(self) -> None:
        netns.setns(str(self.host.path), flags=0, fork=False)
        self._loop.run_forever()

    def _furnish(self, name: str) -> None:
        """Move the device into the sandbox, and give it all it needs there."""
        sandbox = self.station.sandbox
        with IPRoute(netns=self.host.name) as netlink:
            [index] = netlink.link_lookup(ifname=name)
            netlink.link("set", index=index, net_ns_fd=str(sandbox.path))
        sandbox.run(["sysctl", "-qw", "net.ipv6.conf.all.keep_addr_on_down=1"])
        with IPRoute(netns=sandbox.name) as netlink:
            netlink.link("set", index=netlink.link_lookup(ifname="lo")[0], state="up")
            [index] = netlink.link_lookup(ifname=name)
            netlink.link("set", index=index, ifname=IFNAME, address=self.station.mac, mtu=self._mtu)
            netlink.link("set", index=index, state="up")
            # An IPv6 link has an MTU of 1,280 at least (RFC 8200 §5).
            roomy = self._mtu >= 1280
            for interface in (self.station.ipv4, self.station.ipv6)[: 1 + roomy]:
                netlink.addr(
                    "add",
                    index=index,
                    address=str(interface.ip),
                    prefixlen=interface.network.prefixlen,
                    flags=_IFA_F_NODAD,
                )


def connect(*carriers: Carrier) -> None:
    """Tell every host of the others, as the control plane would."""
    for carrier in carriers:
        others = [other for other in carriers if other is not carrier]
        changes = [SetPeers(VNI, tuple(Peer(other.vtep) for other in others))]
        entries = [
            SetEntry(
                VNI,
                other.mac,
                other.vtep,
                tuple(parse_ip(address) for address in other.station.addresses),
            )
            for other in others
        ]
        carrier.do(
            lambda carrier=carrier, all_=(*changes, *entries): carrier.datapath.program(all_)
        )
