"""Open vSwitch's userspace datapath on a host of a bed, told what `vxnet network export` prints."""

import ipaddress
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.kernel import mac_of
from vxnet.demo.bed import UNDERLAY, Host
from vxnet.demo.cluster import wait_for
from vxnet.demo.station import Station

__all__ = ["ovs_station"]

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
OUTER, END = "outer", "end0"


@contextmanager
def ovs_station(
    host: Host, commands: Sequence[str], *, vtep: str, ipv4: str, ipv6: str, mtu: int
) -> Iterator[Station]:
    """A station behind a switch that those commands made a member of the network.

    Tunnelling in user space wants the underlay's address on a bridge of its own; the station is an
    internal port, which is a TAP.
    """
    home = host.directory / "ovs"
    home.mkdir()
    env = dict(os.environ) | {f"OVS_{w}DIR": str(home) for w in ("RUN", "LOG", "DB", "SYSCONF")}
    subprocess.run(
        ["ovsdb-tool", "create", str(home / "conf.db"), str(SCHEMA)], env=env, check=True
    )
    socket = home / "db.sock"
    with (home / "log").open("wb") as log:
        for words in (
            ["ovsdb-server", str(home / "conf.db"), f"--remote=punix:{socket}"],
            ["ovs-vswitchd", f"unix:{socket}"],
        ):
            host.popen(words, env=env, stdout=log, stderr=log)
            wait_for(socket.exists, 20.0, "the switch's database answers")

    def vsctl(*words: str) -> str:
        database = f"--db=unix:{socket}"
        return host.run(["ovs-vsctl", "--timeout=20", database, *words], env=env).stdout

    prefix = 24 if ":" not in vtep else 64
    vsctl("add-br", OUTER, "--", "set", "bridge", OUTER, "datapath_type=netdev",
          "--", "add-port", OUTER, UNDERLAY)  # fmt: skip
    for line in (
        f"address del {vtep}/{prefix} dev {UNDERLAY}",
        f"link set {OUTER} mtu 1500",
        f"link set {OUTER} up",
        f"address add {vtep}/{prefix} dev {OUTER} {'nodad' if ':' in vtep else ''}",
    ):
        host.run(["ip", *line.split()])
    for line in commands:
        program, *words = shlex.split(line)
        assert program == "ovs-vsctl"
        vsctl(*words)
    [bridge] = (name for name in vsctl("list-br").split() if name != OUTER)
    vsctl("set", "bridge", bridge, "datapath_type=netdev")
    vsctl("add-port", bridge, END, "--", "set", "interface", END, "type=internal")
    host.run(["ip", "link", "set", END, "mtu", str(mtu), "up"])
    for address in (ipv4, ipv6):
        nodad = ["nodad"] if ":" in address else []
        host.run(["ip", "address", "add", address, "dev", END, *nodad])
    mac = mac_of(host, END)
    yield Station(
        label=f"{host.label}/ovs",
        network="ovs",
        host=host,
        sandbox=host,
        ifname=END,
        endpoint="",
        mac=mac,
        ipv4=ipaddress.IPv4Interface(ipv4),
        ipv6=ipaddress.IPv6Interface(ipv6),
    )
