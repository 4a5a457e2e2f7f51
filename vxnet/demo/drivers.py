"""`vxnet demo --drivers`: each network driver does its job on two hosts, and is measured."""

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from vxnet.api.model import AttachBody, DriverView, EndpointBody, JoinBody, NetworkBody
from vxnet.demo.bed import UNDERLAY
from vxnet.demo.cluster import Daemon, station_of, wait_for
from vxnet.demo.namespace import Namespace
from vxnet.demo.report import DriverRow, Finding
from vxnet.demo.stage import Check, Stage
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping, rate, transfer
from vxnet.errors import HostError, StateError

__all__ = ["CHECKS", "PLUGINS"]

PLUGINS: Final = Path("/run/docker/plugins")
"""Where a daemon looks for plugins; the demo's is called by the demo's prefix."""

SILENT_S: Final = 1
"""How long an answer that must not come is waited for."""
PINGS: Final = 5
STREAM_S: Final = 1.0
INTACT_BYTES: Final = 8_000_000


def overlay(stage: Stage) -> Finding:
    """One Ethernet across both hosts."""
    near, far = _hosts(stage)
    _make(near, "blue", "overlay", "10.9.0.0/24")
    stage.cluster.wait_for_network("blue")
    return _measure(stage, "overlay", near.attach("blue", name="o1"), far.attach("blue", name="o2"))


def bridge(stage: Stage) -> Finding:
    """Two sandboxes of one host, and the world outside of it."""
    near, far = _hosts(stage)
    _make(near, "app", "bridge", "10.11.0.0/24")
    one, two = near.attach("app", name="b1"), near.attach("app", name="b2")
    found = _measure(stage, "bridge", one, two)
    out = ping(one, far.vtep)
    return Finding(
        found.ok and out is not None,
        f"{found.seen}; {far.host.label}, which knows no way back to {one.ipv4.network}, "
        + ("answers through NAT" if out is not None else "does not answer"),
        found.details,
    )


def published(stage: Stage) -> Finding:
    """A port of the host leads to a sandbox; asked from another host."""
    near, far = _hosts(stage)
    _attach(near, "app", "web", publish=("8080:80/tcp",))
    answer = _greet(near.host.sandbox("web"), 80, far.host, near.vtep, 8080)
    return Finding(
        answer == b"hello",
        f"{far.host.label} asked {near.vtep}:8080 and the sandbox answered {answer.decode()!r}",
    )


def internal(stage: Stage) -> Finding:
    """A network that leads nowhere else, even for somebody who adds a route."""
    near, far = _hosts(stage)
    _make(near, "inside", "bridge", "10.12.0.0/24", internal="true")
    one, two = near.attach("inside", name="i1"), near.attach("inside", name="i2")
    between = ping(one, two.addresses[0])
    one.sandbox.run(["ip", "route", "add", "default", "via", "10.12.0.1"])
    out = ping(one, far.vtep, wait_s=SILENT_S)
    return Finding(
        between is not None and out is None,
        f"its sandboxes reach each other{_unless(between is not None)}, "
        f"{far.host.label} is out of reach{_unless(out is None)}",
    )


def isolated(stage: Stage) -> Finding:
    """Two bridge networks of one host do not meet; in one of them, endpoints may be kept apart."""
    near, _ = _hosts(stage)
    _make(near, "other", "bridge", "10.13.0.0/24", icc="false")
    one, two = near.attach("other", name="x1"), near.attach("other", name="x2")
    inside = near.attach("app", name="b3")
    across = ping(one, inside.addresses[0], wait_s=SILENT_S)
    within = ping(one, two.addresses[0], wait_s=SILENT_S)
    return Finding(
        across is None and within is None,
        f"another bridge's sandbox is out of reach{_unless(across is None)}, and with icc=false "
        f"so is one of its own{_unless(within is None)}",
    )


def macvlan(stage: Stage) -> Finding:
    """Sandboxes of both hosts as stations of the segment that the hosts are on."""
    near, far = _hosts(stage)
    _make(near, "lan", "macvlan", "10.14.0.0/24", parent=UNDERLAY)
    stage.cluster.wait_for_network("lan")
    return _measure(stage, "macvlan", near.attach("lan", name="m1"), far.attach("lan", name="m2"))


def ipvlan(stage: Stage) -> Finding:
    """The same behind one MAC a host, where the kernel has ipvlan; else that is what is said."""
    near, far = _hosts(stage)
    lacks = _view(near, "ipvlan").lacks
    if lacks is not None:
        stage.drivers.append(_row(near, "ipvlan"))
        return Finding(
            "this kernel has no ipvlan" in lacks, f"not shown here, and said why: {lacks}"
        )
    _make(near, "flat", "ipvlan", "10.15.0.0/24", parent=UNDERLAY)
    stage.cluster.wait_for_network("flat")
    return _measure(stage, "ipvlan", near.attach("flat", name="v1"), far.attach("flat", name="v2"))


def host(stage: Stage) -> Finding:
    """No separation: the sandbox is the host's own namespace."""
    near, far = _hosts(stage)
    for daemon in (near, far):
        daemon.client.create_network(NetworkBody("plain", driver="host"))
        daemon.client.attach(
            AttachBody(
                EndpointBody("plain", name="here"), JoinBody("path", str(daemon.host.path), "eth0")
            )
        )
    elsewhere = near.host.sandbox("elsewhere")
    try:
        near.client.attach(AttachBody(EndpointBody("plain"), JoinBody("netns", elsewhere.name)))
    except StateError:
        refused = True
    else:
        refused = False
    found = _measure(stage, "host", _itself(near), _itself(far))
    return Finding(
        found.ok and refused,
        f"{found.seen}; another namespace is refused{_unless(refused)}",
        found.details,
    )


def none(stage: Stage) -> Finding:
    """Nothing is put into the sandbox."""
    near, _ = _hosts(stage)
    near.client.create_network(NetworkBody("alone", driver="none"))
    _attach(near, "alone", "hermit")
    names = near.host.sandbox("hermit").inside(lambda: [n for _, n in socket.if_nameindex()])
    stage.drivers.append(_row(near, "none"))
    return Finding(names == ["lo"], f"the sandbox has {', '.join(names)} and no other")


def remote(stage: Stage) -> Finding:
    """A third party's plugin, driven by the protocol that Docker drives it with."""
    near, _ = _hosts(stage)
    name = stage.cluster.bed.prefix
    made = not PLUGINS.exists()
    PLUGINS.mkdir(parents=True, exist_ok=True)
    path = PLUGINS / f"{name}.sock"
    plugin = near.host.popen([sys.executable, "-m", "vxnet.demo.plugin", path])
    try:
        wait_for(path.is_socket, 30, "the plugin answers")
        _make(near, "theirs", name, "10.16.0.0/24")
        one, two = near.attach("theirs", name="p1"), near.attach("theirs", name="p2")
        found = _measure(stage, name, one, two)
        stage.drivers[-1].driver = "remote"
        for endpoint in ("p1", "p2"):
            near.client.remove_endpoint(near.host.sandbox(endpoint).name)
        near.client.remove_network("theirs")
    finally:
        plugin.kill()
        plugin.wait()
        path.unlink(missing_ok=True)
        if made:
            os.rmdir(PLUGINS)
    return Finding(found.ok, f"a plugin found as {path}: {found.seen}", found.details)


def _measure(stage: Stage, driver: str, source: Station, target: Station) -> Finding:
    """Round trips and a TCP stream between two stations; also a row for the comparison."""
    row = _row(_hosts(stage)[0], driver)
    stage.drivers.append(row)
    row.rtt_ms = ping(source, target.addresses[0], count=PINGS)
    if row.rtt_ms is None:
        return Finding(False, f"{target.label} does not answer {source.label}")
    done = transfer(source, target, target.addresses[0], INTACT_BYTES)
    row.gigabits_per_second = rate(source, target, target.addresses[0], STREAM_S)
    return Finding(
        done.intact,
        f"{source.label} > {target.label}: {row.rtt_ms:.2f} ms, {row.gigabits_per_second:.2f} "
        f"Gbit/s, {done.received_bytes / 1e6:.0f} MB arrived "
        + ("intact" if done.intact else "DAMAGED"),
        {"rtt_ms": row.rtt_ms, "gigabits_per_second": row.gigabits_per_second},
    )


def _hosts(stage: Stage) -> tuple[Daemon, Daemon]:
    near, far = stage.cluster.daemons[:2]
    return near, far


def _make(daemon: Daemon, name: str, driver: str, subnet: str, **options: str) -> None:
    third = int(subnet.split(".")[1])
    subnets = (subnet, f"fd00:{third:x}::/64")
    daemon.client.create_network(NetworkBody(name, driver=driver, subnets=subnets, options=options))


def _attach(daemon: Daemon, network: str, name: str, publish: tuple[str, ...] = ()) -> None:
    sandbox = daemon.host.sandbox(name)
    daemon.client.attach(
        AttachBody(
            EndpointBody(network, name=sandbox.name, publish=publish),
            JoinBody("netns", sandbox.name),
        )
    )


def _itself(daemon: Daemon) -> Station:
    """A host as a station of its own network."""
    addresses = (f"{daemon.host.vtep4}/24", f"{daemon.host.vtep6}/64")
    station = station_of(daemon.host, daemon.host, daemon.client.endpoint("here"), addresses)
    return replace(station, label=daemon.host.label)


def _view(daemon: Daemon, driver: str) -> DriverView:
    return next(view for view in daemon.client.drivers() if view.name == driver)


def _row(daemon: Daemon, driver: str) -> DriverRow:
    view = _view(daemon, driver)
    return DriverRow(
        driver=view.name,
        scope=view.scope,
        own_mac=view.own_mac,
        own_ip=view.own_ip,
        crosses_hosts=view.crosses_hosts,
        way_out=view.way_out,
    )


def _greet(
    server: Namespace, port: int, client: Namespace, address: str, published_port: int
) -> bytes:
    """What somebody hears who connects to a published port; nothing where nobody answers."""
    with server.inside(lambda: socket.create_server(("", port))) as listener:
        listener.settimeout(5.0)
        with client.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as asker:
            asker.settimeout(5.0)
            try:
                asker.connect((address, published_port))
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"hello")
                return asker.recv(16)
            except (OSError, HostError):
                return b""


def _unless(holds: bool) -> str:
    return "" if holds else " (NOT SO)"


MAKERS: tuple[tuple[str, str, Callable[[Stage], Finding]], ...] = (
    ("overlay", "overlay: one Ethernet across two hosts", overlay),
    ("bridge", "bridge: two sandboxes of one host, and the way out", bridge),
    ("published", "bridge: a published port, asked from another host", published),
    ("internal", "bridge: an internal network", internal),
    ("isolated", "bridge: networks and endpoints kept apart", isolated),
    ("macvlan", "macvlan: sandboxes of two hosts on the hosts' own segment", macvlan),
    ("ipvlan", "ipvlan: the same with one MAC a host", ipvlan),
    ("host", "host: the host's own namespace", host),
    ("none", "none: loopback only", none),
    ("remote", "remote: a third party's libnetwork plugin", remote),
)
CHECKS = tuple(Check(name, title, make) for name, title, make in MAKERS)
