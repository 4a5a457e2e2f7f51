"""Open vSwitch with its userspace datapath, without DPDK."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import UNDERLAY, Bed, Host, Pair, ip, other
from benchmarks.install import apt_get, lacking
from benchmarks.peers.parts import take_in
from benchmarks.process import program, run, wait_until

__all__ = ["OpenVSwitch"]

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
OVERHEAD = 50


class OpenVSwitch:
    """A switch in user space that speaks VXLAN itself, as vxnet does."""

    name = "ovs"
    title = "Open vSwitch, userspace"

    def install(self) -> None:
        """Debian's."""
        apt_get("openvswitch-switch")

    def missing(self) -> str | None:
        """Whether its programs are there."""
        return lacking("ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovsdb-tool")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A switch on each host.

        Tunnelling in user space wants the underlay's address on a bridge of its own (`outer`); the
        room's device is an internal port of the other (`inner`), which is a TAP.
        """
        with ExitStack() as stack:
            ends, pids = [], []
            for host in bed.hosts:
                pids += stack.enter_context(_switch(host))
                _configure(bed, host)
                ends.append(take_in(host, "end", bed.mtu - OVERHEAD))
            yield Pair(ends[0], ends[1], tuple(pids))


@contextmanager
def _switch(host: Host) -> Iterator[list[int]]:
    home = host.directory
    env = _environment(host)
    run(["ovsdb-tool", "create", str(home / "conf.db"), SCHEMA], env=env)
    words = ["ovsdb-server", str(home / "conf.db"), f"--remote=punix:{home}/db.sock"]
    with (
        program(words, home / "ovsdb.log", netns=host.path, env=env) as database,
        program(
            ["ovs-vswitchd", f"unix:{home}/db.sock"], home / "ovs.log", netns=host.path, env=env
        ) as switch,
    ):
        wait_until((home / "db.sock").exists, "ovsdb-server listening", running=database)
        yield [database.pid, switch.pid]


def _configure(bed: Bed, host: Host) -> None:
    words = ["--", "add-br", "outer", "--", "set", "bridge", "outer", "datapath_type=netdev"]
    words += ["--", "add-port", "outer", UNDERLAY]
    words += ["--", "add-br", "inner", "--", "set", "bridge", "inner", "datapath_type=netdev"]
    words += ["--", "add-port", "inner", "end"]
    words += ["--", "set", "interface", "end", "type=internal"]
    words += ["--", "add-port", "inner", "tunnel", "--", "set", "interface", "tunnel"]
    words += ["type=vxlan", "options:key=42", f"options:remote_ip={other(bed, host).vtep4}"]
    database = f"--db=unix:{host.directory}/db.sock"
    run(["ovs-vsctl", database, *words], netns=host.path, env=_environment(host))
    ip(f"address del {host.vtep4}/24 dev {UNDERLAY}", host)
    ip(f"link set outer mtu {bed.mtu}", host)
    ip(f"address add {host.vtep4}/24 dev outer", host)
    ip("link set outer up", host)


def _environment(host: Host) -> dict[str, str]:
    return dict(os.environ) | {
        f"OVS_{what}DIR": str(host.directory) for what in ("RUN", "LOG", "DB", "SYSCONF")
    }
