"""Settings: a TOML file becomes frozen values, or one error that names every problem in it."""

import difflib
import ipaddress
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from vxnet.errors import ConfigError

__all__ = [
    "RELOADABLE",
    "DnsSettings",
    "DockerSettings",
    "GossipSettings",
    "LogSettings",
    "MetricsSettings",
    "NetworkSettings",
    "NodeSettings",
    "PeerSettings",
    "Settings",
    "VxlanSettings",
    "differences",
    "load",
    "parse",
    "parse_host_port",
]

DEFAULT_SOCKET: Final = "/run/vxnet/vxnet.sock"


def parse_host_port(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Read `192.0.2.1`, `192.0.2.1:7947`, `[2001:db8::1]:7947` or the same with a DNS name.

    Without a default the port must be written. Raises ConfigError.
    """
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, port_text = text[1:].partition("]")
        if not bracket or (port_text and not port_text.startswith(":")):
            raise ConfigError(f"{text!r} is not an address; write IPv6 like [2001:db8::1]:7947")
        port_text = port_text[1:]
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    if not port_text and default_port is not None and not text.endswith(":"):
        port_text = str(default_port)
    port_is_number = port_text.isascii() and port_text.isdigit()
    if not port_is_number or not 1 <= int(port_text) <= 65535:
        raise ConfigError(f"{text!r} does not end in a port from 1 to 65535")
    labels = host.rstrip(".").split(".")
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    if ":" not in host and not all(p and set(p.lower()) <= allowed for p in labels):
        raise ConfigError(f"{text!r} is neither an address nor a host name")
    if ":" in host or labels[-1].isdigit():
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ConfigError(f"{text!r} is not an IP address") from None
    return host, int(port_text)


def _check_address(text: str) -> None:
    ipaddress.ip_address(text)


def _check_seed(text: str) -> None:
    parse_host_port(text, 7947)


def _check_listen(text: str) -> None:
    if text:
        parse_host_port(text)


def _check_peer(text: str) -> None:
    host, _ = parse_host_port(text, 4789)
    ipaddress.ip_address(host)


def _check_resolver(text: str) -> None:
    host, _ = parse_host_port(text, 53)
    ipaddress.ip_address(host)


def _check_subnet(text: str) -> None:
    ipaddress.ip_network(text)


def _kind(description: str, check: Callable[[str], None] | None = None, **bounds: Any) -> Meta:
    """What a value must be, in words that complete "must be …"; `check` raises where it is not."""
    return Meta(description=description, extra={"check": check} if check else None, **bounds)


Port = Annotated[int, _kind("a UDP port from 1 to 65535", ge=1, le=65535)]
Name = Annotated[
    str,
    _kind(
        "1 to 64 letters, digits, dots, dashes or underscores that start with a letter or digit",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    ),
]
Address = Annotated[str, _kind('an IPv4 or IPv6 address, like "192.0.2.1"', _check_address)]
AbsolutePath = Annotated[str, _kind("an absolute path", pattern=r"^/[^\0]*$")]
OptionalPath = Annotated[str, _kind('an absolute path, or "" for none', pattern=r"^(/[^\0]*)?$")]
Seed = Annotated[
    str, _kind('a host with or without a port, like "192.0.2.2" or "b.example:7947"', _check_seed)
]
Listen = Annotated[
    str, _kind('an address with a port, like "127.0.0.1:9471", or "" for none', _check_listen)
]
PeerAddress = Annotated[
    str, _kind('an address with or without a port, like "192.0.2.9:4789"', _check_peer)
]
Resolver = Annotated[
    str, _kind('an address with or without a port, like "192.0.2.53:53"', _check_resolver)
]
Subnet = Annotated[str, _kind('a subnet without host bits, like "10.9.0.0/24"', _check_subnet)]
VniNumber = Annotated[int, _kind("a VNI from 0 to 16777214", ge=0, le=2**24 - 2)]
Mtu = Annotated[int, _kind("an MTU from 576 to 65485 octets", ge=576, le=65485)]
UnderlayMtu = Annotated[int, _kind("an MTU from 576 to 65535 octets", ge=576, le=65535)]
Switch = Annotated[bool, _kind("true or false")]


class NodeSettings(Struct, frozen=True, kw_only=True):
    """This host."""

    name: Name
    """What people call this host; unique in the cluster."""
    vtep: Address
    """This host's underlay address; outer packets leave from it."""
    state_dir: AbsolutePath = "/var/lib/vxnet"
    """Where networks and endpoints are kept over a restart."""
    socket: AbsolutePath = DEFAULT_SOCKET
    """Where the daemon answers the `vxnet` command."""
    datapath: Annotated[Literal["auto", "native", "pure"], _kind('"auto", "native" or "pure"')] = (
        "auto"
    )
    """Rust, Python, or `auto`: Rust where it was built."""
    busy_poll_us: Annotated[
        int, _kind("a number of microseconds from 0 to 10000", ge=0, le=10_000)
    ] = 200
    """While frames come close together, how long the native datapath looks for the next before it
    sleeps; 0: not at all."""
    keep_devices: Switch = False
    """Whether endpoints' devices stay in their sandboxes when the daemon ends, for the next one."""
    mtu: UnderlayMtu | None = None
    """The underlay's MTU; absent: that of the interface that has `vtep`."""


class VxlanSettings(Struct, frozen=True, kw_only=True):
    """The tunnels."""

    port: Port = 4789
    """The VXLAN port, the same on every host."""
    checksum: Switch = True
    """Write outer UDP checksums, and refuse IPv6 packets without; off only on every host."""
    remote_checksum: Switch = True
    """Let native hosts of the cluster leave inner checksums of long frames to this one."""
    gso_max_bytes: Annotated[
        int, _kind("a number of octets from 2048 to 65536", ge=2048, le=65536)
    ] = 62_000
    """The largest super-frame a sandbox hands over: 62,000 is 44 segments, one send."""


class GossipSettings(Struct, frozen=True, kw_only=True):
    """The control plane."""

    port: Port = 7947
    """The port of the gossip, UDP and TCP."""
    cluster: Name = "vxnet"
    """Hosts of another cluster are not listened to."""
    seeds: Annotated[tuple[Seed, ...], _kind('a list of hosts, like ["192.0.2.2"]')] = ()
    """A few hosts of the cluster, to ask for all the others; the first host needs none."""
    key_file: OptionalPath = ""
    """The cluster's key; `""`: gossip is in clear, and the daemon says so."""
    profile: Annotated[Literal["lan", "wan"], _kind('"lan" or "wan"')] = "lan"
    """How patient failure detection is."""


class DnsSettings(Struct, frozen=True, kw_only=True):
    """The resolver of each network."""

    enabled: Switch = True
    """Answer for names in networks, at the last address of each subnet."""
    upstream: Annotated[
        tuple[Resolver, ...], _kind('a list of addresses, like ["192.0.2.53"]')
    ] = ()
    """Who is asked for all other names; none: the resolvers of /etc/resolv.conf."""


class ServicesSettings(Struct, frozen=True, kw_only=True):
    """Services, as far as they are this host's own affair."""

    ingress: Switch = True
    """Open the published ports of services on this host."""


class DockerSettings(Struct, frozen=True, kw_only=True):
    """The Docker network plugin."""

    enabled: Switch = False
    """Serve Docker."""
    socket: AbsolutePath = "/run/docker/plugins/vxnet.sock"
    """Where dockerd asks; the file's name is the driver's."""
    spec: OptionalPath = ""
    """A file that says where the socket is, like "/etc/docker/plugins/vxnet.spec"; `""`: none."""
    api: OptionalPath = "/run/docker.sock"
    """Docker's own API, asked what its networks and containers are called; `""`: never."""
    scope: Annotated[Literal["local", "global"], _kind('"local" or "global"')] = "local"
    """"global" in a managed plugin of a swarm, whose manager makes the networks."""


class MetricsSettings(Struct, frozen=True, kw_only=True):
    """The Prometheus endpoint."""

    listen: Listen = ""
    """Where; `""`: nowhere."""


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is written to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _kind('"debug", "info", "warning" or "error"'),
    ] = "info"
    """From which level on."""
    format: Annotated[Literal["text", "json"], _kind('"text" or "json"')] = "text"
    """Text for people, or one JSON object a line."""


class PeerSettings(Struct, frozen=True, kw_only=True):
    """A VTEP that does not speak our gossip: a Linux vxlan device, Open vSwitch, a switch."""

    vtep: PeerAddress
    """Its underlay address."""
    learning: Switch = True
    """Learn its stations from the frames it sends."""
    mtu: Mtu | None = None
    """The IP MTU inside, where the way to it carries less than the network's."""


class NetworkSettings(Struct, frozen=True, kw_only=True):
    """A network that is there from the start, with the foreign VTEPs it reaches."""

    name: Name
    """What people call the network."""
    vni: VniNumber
    """Its number on the wire."""
    subnets: Annotated[tuple[Subnet, ...], _kind('a list of subnets, like ["10.9.0.0/24"]')] = ()
    """Where its endpoints get addresses from."""
    mtu: Mtu | None = None
    """The IP MTU inside; absent: what fits the underlay."""
    peers: Annotated[tuple[PeerSettings, ...], _kind("tables, [[network.peers]]")] = ()
    """Foreign VTEPs that have this network."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything a daemon is told."""

    node: NodeSettings
    vxlan: VxlanSettings = VxlanSettings()
    gossip: GossipSettings = GossipSettings()
    dns: DnsSettings = DnsSettings()
    services: ServicesSettings = ServicesSettings()
    docker: DockerSettings = DockerSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    network: Annotated[tuple[NetworkSettings, ...], _kind("tables, [[network]]")] = ()


RELOADABLE: Final = frozenset({"log.level", "gossip.seeds", "network"})
"""What SIGHUP applies; everything else waits for a restart."""


def load(path: Path) -> Settings:
    """Read a settings file. Raises ConfigError that names every problem, one a line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; write one with [node] name and vtep, or choose another with -c"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return parse(text, str(path))


def parse(text: str, file: str = "settings") -> Settings:
    """Read settings from TOML. Raises ConfigError that names every problem, one a line."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: this is not TOML: {error}") from None
    problems = list(_problems_of_table(Settings, document, ""))
    if not problems:
        settings = msgspec.convert(document, Settings)
        problems = list(_contradictions(settings))
        if not problems:
            return settings
    raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems))


def differences(old: Settings, new: Settings) -> Iterator[str]:
    """The keys whose values differ, as `section.key`, or the section where it is a list."""
    for section in Settings.__struct_fields__:
        before, after = getattr(old, section), getattr(new, section)
        if isinstance(before, tuple):
            if before != after:
                yield section
            continue
        for key in before.__struct_fields__:
            if getattr(before, key) != getattr(after, key):
                yield f"{section}.{key}"


def _problems_of_table(struct: type[Struct], table: Any, path: str) -> Iterator[str]:
    """Everything wrong with a table and the tables in it, against the struct it should fill."""
    if not isinstance(table, dict):
        yield f"{path} = {_toml(table)}: must be a table, [{path}]"
        return
    hints = get_type_hints(struct, include_extras=True)
    for key in table:
        if key not in hints:
            yield f"{_join(path, key)}: no such setting{_suggestion(key, list(hints))}"
    for field in msgspec.structs.fields(struct):
        where = _join(path, field.name)
        if field.name in table:
            yield from _problems_of_value(hints[field.name], table[field.name], where)
        elif field.required and not _is_struct(hints[field.name]):
            yield f"{where}: missing; it must be {_description(hints[field.name])}"
        elif field.required:
            yield from _problems_of_table(hints[field.name], {}, where)


def _problems_of_value(hint: Any, value: Any, path: str) -> Iterator[str]:
    if _is_struct(hint):
        yield from _problems_of_table(hint, value, path)
        return
    item = _item_of(hint)
    if item is not None and isinstance(value, list):
        for position, element in enumerate(value):
            yield from _problems_of_value(item, element, f"{path}[{position}]")
        return
    try:
        converted = msgspec.convert(value, hint)
        if (check := _check_of(hint)) is not None and converted is not None:
            check(converted)
    except (msgspec.ValidationError, ConfigError, ValueError):
        yield f"{path} = {_toml(value)}: must be {_description(hint)}"


def _contradictions(settings: Settings) -> Iterator[str]:
    """What is wrong between values that are right each for itself."""
    node, family = settings.node, ipaddress.ip_address(settings.node.vtep).version
    if (
        ipaddress.ip_address(node.vtep).is_unspecified
        or ipaddress.ip_address(node.vtep).is_multicast
    ):
        yield (
            f"node.vtep = {_toml(node.vtep)}: must be an address of this host, "
            "since outer packets leave from it"
        )
    if settings.vxlan.port == settings.gossip.port:
        yield f"gossip.port = {settings.gossip.port}: vxlan.port is the same; choose another"
    names: set[str] = set()
    vnis: dict[int, str] = {}
    for position, network in enumerate(settings.network):
        where = f"network[{position}]"
        if network.name in names:
            yield f"{where}.name = {_toml(network.name)}: an earlier network has this name"
        if network.vni in vnis:
            yield f"{where}.vni = {network.vni}: network {vnis[network.vni]} has this VNI"
        names.add(network.name)
        vnis.setdefault(network.vni, network.name)
        for peer_position, peer in enumerate(network.peers):
            host, _ = parse_host_port(peer.vtep, settings.vxlan.port)
            if ipaddress.ip_address(host).version != family:
                yield (
                    f"{where}.peers[{peer_position}].vtep = {_toml(peer.vtep)}: node.vtep is "
                    f"IPv{family}; outer packets need one version"
                )


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Struct)


def _item_of(hint: Any) -> Any:
    """`X` of `tuple[X, ...]`, or None."""
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_args(bare)[0] if get_origin(bare) is tuple else None


def _metas(hint: Any) -> Iterator[Meta]:
    """The `Meta` of a hint, or of the members of a union."""
    if get_origin(hint) is Annotated:
        yield from (m for m in hint.__metadata__ if isinstance(m, Meta))
    else:
        for member in get_args(hint):
            yield from _metas(member)


def _description(hint: Any) -> str:
    return " or ".join(meta.description or "" for meta in _metas(hint))


def _check_of(hint: Any) -> Callable[[Any], None] | None:
    for meta in _metas(hint):
        if meta.extra:
            check: Callable[[Any], None] = meta.extra["check"]
            return check
    return None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"


def _toml(value: Any) -> str:
    """The value as the file has it, shortened."""
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 60 else text[:57] + "..."
