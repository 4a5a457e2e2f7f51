"""What a managed plugin starts: the daemon, with settings from what `docker plugin set` said.

Run as `python -m vxnet.daemon.managed` by dockerd, inside the tree that `bundle` makes.
"""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from vxnet.config import load, parse_host_port
from vxnet.errors import ConfigError, VxnetError
from vxnet.host.unix import listen

__all__ = ["SETTINGS", "write_settings"]

SETTINGS: Final = {
    "VXNET_VTEP": "this node's underlay address; empty: the one that leads to the first seed",
    "VXNET_SEEDS": "a few other nodes, separated by commas",
    "VXNET_PORT": "UDP port of the frames, the same on every node; empty: 8472",
    "VXNET_NAME": "this node's name, unique in the cluster; empty: made of its address",
    "VXNET_KEY": "the gossip's key, 64 hexadecimal digits; empty: it is in clear",
    "VXNET_CLUSTER": "nodes of another cluster are not listened to",
}
"""What can be set, and what it means."""

SOCKET: Final = Path("/run/docker/plugins/vxnet.sock")
"""As config.json names it."""
STATE: Final = Path("/var/lib/vxnet")
PORT: Final = 8472
"""Linux's own default. A swarm has the standard's 4789 for Docker's overlay."""
ANYWHERE: Final = "192.0.2.1"  # RFC 5737: routed by default, and nobody's


def write_settings(environment: Mapping[str, str], directory: Path) -> Path:
    """The daemon's settings file. Raises ConfigError where the daemon could not start with it."""
    seeds = [seed.strip() for seed in environment.get("VXNET_SEEDS", "").split(",")]
    seeds = [seed for seed in seeds if seed]
    vtep = environment.get("VXNET_VTEP", "") or _address_towards(seeds)
    name = environment.get("VXNET_NAME", "") or f"node-{vtep.replace(':', '-')}"
    port = _port(environment.get("VXNET_PORT", ""))
    _check_free(vtep, port)
    gossip: dict[str, object] = {
        "cluster": environment.get("VXNET_CLUSTER", "") or "vxnet",
        "seeds": seeds,
    }
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    if key := environment.get("VXNET_KEY", ""):
        key_file = directory / "gossip.key"
        key_file.touch(mode=0o600)
        key_file.write_text(f"{key}\n", encoding="ascii")
        gossip["key_file"] = str(key_file)
    document: dict[str, dict[str, object]] = {
        "node": {
            "name": name,
            "vtep": vtep,
            "state_dir": str(directory),
            "socket": "/run/vxnet/vxnet.sock",
        },
        "vxlan": {"port": port},
        "gossip": gossip,
        # The names of a swarm's networks need not be asked for, and its API is not reachable here.
        "docker": {"enabled": True, "scope": "global", "api": "", "socket": str(SOCKET)},
    }
    path = directory / "vxnet.toml"
    path.write_bytes(_toml(document))
    return path


def _toml(document: Mapping[str, Mapping[str, object]]) -> bytes:
    """JSON's strings, lists and truths are TOML's, too."""
    lines = []
    for section, values in document.items():
        lines.append(f"[{section}]".encode())
        lines += [key.encode() + b" = " + msgspec.json.encode(v) for key, v in values.items()]
    return b"\n".join(lines) + b"\n"


def _port(text: str) -> int:
    if not text:
        return PORT
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise ConfigError(f"VXNET_PORT={text}: it is a number from 1 to 65535")
    return int(text)


def _check_free(vtep: str, port: int) -> None:
    """What dockerd can still be told: once something listens for it, it takes a plugin as well."""
    family = socket.AF_INET6 if ":" in vtep else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((vtep, port))
        except OSError as error:
            raise ConfigError(
                f"UDP port {port} of {vtep} cannot be had ({error.strerror}); choose another on "
                "every node: docker plugin set vxnet VXNET_PORT=NUMBER"
            ) from None


def _address_towards(seeds: list[str]) -> str:
    host = parse_host_port(seeds[0], 7947)[0] if seeds else ANYWHERE
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError as error:
            raise ConfigError(
                f"no way leads to {host} ({error.strerror}); say which address of this node to use "
                "with: docker plugin set vxnet VXNET_VTEP=ADDRESS"
            ) from None
        found: str = probe.getsockname()[0]
        return found


def _main() -> None:
    try:
        # dockerd gives a plugin ten seconds until something listens, and then time to answer: on a
        # busy host the daemon alone takes longer to load.
        path = write_settings(os.environ, STATE)
        settings = load(path)
        listener = listen(SOCKET, "docker.socket")
        listener.listen()
        from vxnet.daemon.run import run

        run(path, settings, listener)
    except VxnetError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"vxnet: {line}\n")
        sys.exit(1)


if __name__ == "__main__":
    _main()
