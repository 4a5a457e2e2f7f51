"""What can be looked at on this host whether its daemon runs or not."""

import errno
import ipaddress
import os
import socket
import sqlite3
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from vxnet.config import Settings
from vxnet.control.keyfile import read_keys
from vxnet.doctor.finding import HERE, Finding, Findings
from vxnet.errors import ConfigError, HostError, VxnetError
from vxnet.host.namespace import run_inside, run_outside
from vxnet.host.netlink import index_of, netlink
from vxnet.host.privileges import check_privileges
from vxnet.link.tap import Tap
from vxnet.underlay.udp import UdpSettings

__all__ = [
    "database",
    "device",
    "disk_space",
    "kernel",
    "key_file",
    "network_manager",
    "plugin_socket",
    "ports_taken",
    "privileges",
    "underlay",
]

NETWORK_MANAGER: Final = Path("/run/NetworkManager")
NETWORK_MANAGER_SETTINGS: Final = (
    Path("/etc/NetworkManager/conf.d"),
    Path("/usr/lib/NetworkManager/conf.d"),
    Path("/run/NetworkManager/conf.d"),
)
TAP_NAMES: Final = "vx*"

FREE_BYTES_MIN: Final = 16 << 20
FREE_FILES_MIN: Final = 64
PATIENCE_S: Final = 2.0
_UDP_SEGMENT, _UDP_GRO, _SO_RCVBUFFORCE = 103, 104, 33
IFF_UP: Final = 1


def privileges() -> Findings:
    """Root, capabilities, and the TUN device."""
    try:
        check_privileges()
    except HostError as error:
        what, _, mend = str(error).partition("; ")
        yield Finding("tun" if "/dev/net/tun" in what else "privileges", HERE, what, mend)


async def kernel() -> list[Finding]:
    """The offloads that make the datapath fast, and buffers that are large enough."""
    found = list(_sockets())
    try:
        tap = await run_outside(partial(Tap.open, "vxdoctor"))
    except VxnetError as error:
        if "/dev/net/tun" not in str(error):
            found.append(
                Finding("offloads", HERE, f"no TAP device with offloads: {error}", "modprobe tun")
            )
    else:
        tap.close()
    return found


def _sockets() -> Findings:
    wanted = UdpSettings().receive_buffer_bytes
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for option, name in ((_UDP_SEGMENT, "UDP_SEGMENT"), (_UDP_GRO, "UDP_GRO")):
            try:
                probe.setsockopt(socket.SOL_UDP, option, 1)
            except OSError as error:
                yield Finding(
                    "offloads",
                    HERE,
                    f"this kernel has no {name} ({error.strerror}), so datagrams go one by one",
                    "upgrade the kernel to 5.0 or newer",
                )
        try:
            probe.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted)
        except PermissionError:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        given = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if given < wanted:
        yield Finding(
            "socket_buffers",
            HERE,
            f"a socket gets a buffer of {given} octets where {wanted} are wanted, so bursts are"
            " lost",
            f"sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}",
        )


async def underlay(settings: Settings, known_mtu: int | None) -> list[Finding]:
    """The device that has `node.vtep`; `known_mtu` is what the running daemon takes it for."""
    return await run_inside(None, lambda: list(_underlay(settings, known_mtu)))


def _underlay(settings: Settings, known_mtu: int | None) -> Findings:
    vtep = ipaddress.ip_address(settings.node.vtep)
    with netlink("the addresses of this host cannot be read") as kernel_:
        holder = next(
            (
                message["index"]
                for message in kernel_.get_addr()
                if (text := message.get("IFA_LOCAL") or message.get("IFA_ADDRESS"))
                and ipaddress.ip_address(text) == vtep
            ),
            None,
        )
        if holder is None:
            yield Finding(
                "vtep_address",
                HERE,
                f"no device of this host has the address {vtep}, which node.vtep names",
                f"ip addr add {vtep} dev DEVICE, or set node.vtep to an address that is here",
            )
            return
        (link,) = kernel_.get_links(holder)
    name, mtu = link.get("IFLA_IFNAME"), link.get("IFLA_MTU")
    if not link["flags"] & IFF_UP or link.get("IFLA_OPERSTATE") == "DOWN":
        yield Finding(
            "underlay_down", HERE, f"the underlay's device {name} is down", f"ip link set {name} up"
        )
    assumed = settings.node.mtu or known_mtu
    if assumed is not None and assumed > mtu:
        yield Finding(
            "underlay_mtu",
            HERE,
            f"vxnet takes the underlay's MTU for {assumed}, and {name} has {mtu}, so large frames"
            " are dropped",
            f"ip link set {name} mtu {assumed}, or set node.mtu = {mtu} and restart vxnet",
        )


def ports_taken(settings: Settings) -> Findings:
    """Ports that somebody else has. To be asked only while the daemon does not run."""
    family = socket.AF_INET6 if ":" in settings.node.vtep else socket.AF_INET
    for kind, protocol, port in (
        (socket.SOCK_DGRAM, "udp", settings.vxlan.port),
        (socket.SOCK_DGRAM, "udp", settings.gossip.port),
        (socket.SOCK_STREAM, "tcp", settings.gossip.port),
    ):
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.node.vtep, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    yield Finding(
                        "port_taken",
                        HERE,
                        f"somebody else has {protocol} port {port} of {settings.node.vtep}",
                        f"find out who with: ss -lnp{protocol[0]} sport = :{port}, and stop it",
                    )


def key_file(settings: Settings) -> Findings:
    """The gossip's key is there, is one, and is a secret."""
    path = settings.gossip.key_file
    if not path:
        yield Finding(
            "no_key",
            HERE,
            "gossip is in clear, and anybody who reaches its port can join",
            "vxnet keys generate --file FILE, and set gossip.key_file on every host",
            advice=True,
        )
        return
    try:
        read_keys(Path(path))
    except ConfigError as error:
        what, _, mend = str(error).partition("; ")
        yield Finding(
            "key_file", HERE, what, mend or "copy it from another host of the cluster, mode 600"
        )


def plugin_socket(settings: Settings) -> Findings:
    """Docker finds the plugin where it looks for it; a dead socket costs it 15 s a call."""
    path = Path(settings.docker.socket)
    is_there = path.exists()
    if not settings.docker.enabled and not is_there:
        return
    answers = False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(str(path))
            answers = True
        except OSError:
            pass
    if answers:
        return
    if settings.docker.enabled:
        yield Finding(
            "plugin_socket",
            HERE,
            f"docker.enabled is set, and nobody answers on {path}",
            "systemctl restart vxnet",
        )
    else:
        yield Finding(
            "plugin_socket",
            HERE,
            f"{path} is left over from a plugin that is gone, and Docker waits for it",
            f"rm {path}",
        )


def database(settings: Settings) -> Findings:
    """What outlives the daemon can be read."""
    path = Path(settings.node.state_dir) / "vxnet.db"
    if not path.exists():
        return
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE_S) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        connection.close()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        yield Finding(
            "database",
            HERE,
            f"the database {path} is damaged ({said})",
            f"stop vxnet, then: mv {path} {path}.bad, and attach endpoints anew",
        )


def disk_space(settings: Settings) -> Findings:
    """The state directory takes more, and is nobody else's to write to."""
    path = Path(settings.node.state_dir)
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        at = os.statvfs(path)
        mode = path.stat().st_mode
    except OSError as error:
        yield Finding(
            "state_dir", HERE, f"{path} cannot be looked at: {error.strerror}", f"ls -ld {path}"
        )
        return
    free = at.f_bavail * at.f_frsize
    if free < FREE_BYTES_MIN or (at.f_files and at.f_favail < FREE_FILES_MIN):
        yield Finding(
            "disk_space",
            HERE,
            f"the file system of {path} has {free >> 10} KiB and {at.f_favail} files left",
            f"make room there; du -xh {path} shows what takes it",
        )
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield Finding("state_dir", HERE, f"everybody may write to {path}", f"chmod o-w {path}")


def network_manager() -> Findings:
    """NetworkManager keeps its hands off our devices."""
    if not NETWORK_MANAGER.exists():
        return
    for text in _settings_of_network_manager():
        lines = [line for line in text.splitlines() if line.startswith("unmanaged-devices")]
        if any("vx" in line or "driver:tun" in line for line in lines):
            return
    yield Finding(
        "network_manager",
        HERE,
        "NetworkManager runs, and nothing tells it to leave vxnet's devices alone",
        f"printf '[keyfile]\\nunmanaged-devices=interface-name:{TAP_NAMES}\\n'"
        " >/etc/NetworkManager/conf.d/vxnet.conf; nmcli general reload",
    )


def _settings_of_network_manager() -> Iterator[str]:
    for folder in NETWORK_MANAGER_SETTINGS:
        for file in sorted(folder.glob("*.conf")):
            try:
                yield file.read_text(errors="replace")
            except OSError:
                continue


async def device(endpoint: str, path: str, name: str) -> list[Finding]:
    """Whether somebody else has an endpoint's device, inside its sandbox."""
    return await run_inside(path, lambda: list(_device(endpoint, path, name)))


def _device(endpoint: str, path: str, name: str) -> Findings:
    enter = f"nsenter --net={path}"
    with netlink(f"the devices of {path} cannot be read") as kernel_:
        index = index_of(kernel_, name)
        if index is None:
            yield Finding(
                "device_missing",
                HERE,
                f"{name}, the device of endpoint {endpoint}, is not in its sandbox",
                f"vxnet detach {endpoint}, then attach it anew",
            )
            return
        (link,) = kernel_.get_links(index)
        master = link.get("IFLA_MASTER")
        if master is not None:
            (owner,) = kernel_.get_links(master)
            yield Finding(
                "device_grabbed",
                HERE,
                f"{name}, the device of endpoint {endpoint}, was put into"
                f" {owner.get('IFLA_IFNAME')}, which takes what is sent to it",
                f"{enter} ip link set {name} nomaster",
            )
        elif not link["flags"] & IFF_UP:
            yield Finding(
                "device_down",
                HERE,
                f"{name}, the device of endpoint {endpoint}, is down",
                f"{enter} ip link set {name} up",
            )
