"""What travels over the daemon's socket: requests and answers, as JSON that people can read too."""

from msgspec import Struct

__all__ = [
    "AttachBody",
    "CountersView",
    "DetachBody",
    "DnsView",
    "DrainBody",
    "DriverView",
    "EndpointBody",
    "EndpointView",
    "ErrorView",
    "FdbView",
    "ForceBody",
    "ForeignView",
    "HistoryView",
    "JoinBody",
    "KeyBody",
    "KeyView",
    "LeaseView",
    "MemberView",
    "NetworkBody",
    "NetworkView",
    "PeerBody",
    "PlaceView",
    "PublishedView",
    "ReclaimBody",
    "ReclaimView",
    "SandboxBody",
    "SandboxView",
    "ServiceBody",
    "ServiceMemberView",
    "ServiceView",
    "StatsView",
    "StatusView",
    "SubnetView",
    "VerifyView",
]


class ErrorView(Struct, frozen=True):
    """The answer where something is wrong."""

    error: str


class NetworkBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Make this network."""

    name: str
    driver: str = "overlay"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    vni: int | None = None
    mtu: int | None = None
    options: dict[str, str] = {}
    allow_overlap: bool = False


class PeerBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Exchange a network's frames with this foreign VTEP."""

    vtep: str
    learning: bool = True
    mtu: int | None = None


class ForeignView(Struct, frozen=True):
    """A VTEP of a network that is no host of the cluster."""

    vtep: str
    source: str
    """Who named it: `settings`, `command`, or `learned` from a frame."""
    learning: bool
    mtu: int | None
    """Octets of inner IP packets; null where the network's own fit."""


class EndpointBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Make this endpoint."""

    network: str
    name: str = ""
    ips: tuple[str, ...] = ()
    mac: str = ""
    publish: tuple[str, ...] = ()
    """Like `8080:80/tcp`: a port of the host and the endpoint's."""
    priority: int = 0
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """What it is a member of, whether that is there yet or not."""


class JoinBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Put an endpoint into this sandbox."""

    sandbox_kind: str
    sandbox: str
    ifname: str = "eth0"


class AttachBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Make an endpoint and put it into a sandbox."""

    endpoint: EndpointBody
    join: JoinBody


class KeyBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Accept this gossip key, 64 hexadecimal digits."""

    key: str


class ForceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to do it although a member would be lost."""

    force: bool = False


class KeyView(Struct, frozen=True):
    """A gossip key of this host, by its id; the key itself is told to nobody."""

    id: str
    in_use: bool
    accepted_by: tuple[str, ...]
    lacking_on: tuple[str, ...]


class HistoryView(Struct, frozen=True):
    """Something that the control plane told, and when it was applied here."""

    applied_ms: int
    """Unix time."""
    what: str
    host: str
    """Whom it is about, or who said it."""
    network: str
    mac: str
    ips: tuple[str, ...]
    announced_ms: int | None
    """Unix time by the announcing host's clock."""
    version: int | None
    sequence: int | None


class DetachBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Remove the endpoint that a sandbox has in a network."""

    network: str
    sandbox: JoinBody


class SandboxBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Make a network namespace of this name."""

    name: str


class SandboxView(Struct, frozen=True):
    """A network namespace that vxnet made, or that endpoints are in."""

    name: str
    path: str
    made_by_vxnet: bool
    endpoints: tuple[str, ...]


class LeaseView(Struct, frozen=True):
    """An address that is not free, anywhere in the cluster."""

    network: str
    address: str
    holder: str
    host: str
    age_s: float
    reason: str
    """`in use`, or `in grace` after it was given back."""


class ReclaimBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Take over what this dead host owned."""

    host: str


class ReclaimView(Struct, frozen=True):
    """How many addresses were taken over."""

    addresses: int


class DriverView(Struct, frozen=True):
    """What makes networks."""

    name: str
    scope: str
    purpose: str
    limits: str
    own_mac: bool
    own_ip: bool
    crosses_hosts: bool
    way_out: str
    lacks: str | None
    """Why this host cannot run it, or null."""


class SubnetView(Struct, frozen=True):
    """A subnet of a network."""

    prefix: str
    gateway: str | None


class NetworkView(Struct, frozen=True):
    """A network."""

    id: str
    name: str
    driver: str
    vni: int | None
    mtu: int
    subnets: tuple[SubnetView, ...]
    options: dict[str, str]
    created_ms: int
    endpoints: tuple[str, ...]
    """The names of its endpoints on this host."""
    hosts: tuple[str, ...]
    """The names of the other hosts that have endpoints in it."""


class EndpointView(Struct, frozen=True):
    """An endpoint of this host."""

    id: str
    name: str
    network: str
    mac: str
    addresses: tuple[str, ...]
    state: str
    sandbox: str | None
    ifname: str
    created_ms: int
    published: tuple[str, ...] = ()
    priority: int = 0
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Those it is a member of."""


class ServiceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Make this service."""

    name: str
    network: str
    vip: str = "auto"
    """`auto`, `none`, or addresses with commas between."""
    ports: tuple[str, ...] = ()
    """Like `80:8080/tcp`: the service's and the members'."""
    health: str = "none"
    prefer_local: bool = False
    publish: tuple[str, ...] = ()
    """Like `8080:80/tcp`: the hosts' and the service's."""
    publish_mode: str = "ingress"
    """`ingress`: at every host; `host`: at hosts with members, for those."""
    proxy_protocol: str = "none"
    """`v2`: members are told who their client is by a header before what it says."""


class DrainBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Give a member no new flows, or again."""

    endpoint: str
    wanted: bool = True


class ServiceMemberView(Struct, frozen=True):
    """A member of a service."""

    endpoint: str
    host: str
    addresses: tuple[str, ...]
    serving: str
    flows: int
    """From clients of this host."""
    begun: int
    """Of those, as many as ever began."""
    sees: str = ""
    """Who comes to it by published ports: `clients`, or `the host` that they asked, and why."""


class PublishedView(Struct, frozen=True):
    """A published port of a service, as it is on this host."""

    port: str
    """Like `8080:80/tcp`: the hosts' and the service's."""
    state: str
    """`open`, or why it is not."""
    connections: int


class ServiceView(Struct, frozen=True):
    """A service."""

    name: str
    network: str
    vips: tuple[str, ...]
    ports: tuple[str, ...]
    health: str
    prefer_local: bool
    created_ms: int
    members: tuple[ServiceMemberView, ...]
    published: tuple[PublishedView, ...] = ()
    publish_mode: str = "ingress"
    proxy_protocol: str = "none"


class DnsView(Struct, frozen=True):
    """What a name is to somebody in a network, and why."""

    name: str
    network: str
    """Whose names were looked at: the network that was asked about, or that the name is in."""
    kind: str
    addresses: tuple[str, ...]
    endpoints: tuple[str, ...]
    """Which endpoints they are, each with its host."""
    why: str
    resolvers: tuple[str, ...]
    """Where the network's names are asked for; for a name of none, who is asked instead."""


class MemberView(Struct, frozen=True):
    """A host of the cluster."""

    id: str
    name: str
    state: str
    vtep: str
    gossip: str
    for_s: float
    """How long it has been in this state."""
    rtt_ms: float | None
    version: str
    datapath: str
    local: bool
    path_mtu: int | None = None
    """What the way to it was found to carry: octets of outer IP packets."""
    local_health: int | None = None
    """Of this host: 0 is well; up to 8, it doubts that it hears what others say."""
    pings: int = 0
    """How often the gossip asked it whether it lives."""
    pings_lost: int = 0
    """How often no answer came in time; relays and TCP are tried then."""


class FdbView(Struct, frozen=True):
    """A station of a network, and where it is."""

    network: str
    vni: int
    mac: str
    ips: tuple[str, ...]
    vtep: str | None
    """The other host's, or null where the station is on this one."""
    host: str | None
    endpoint: str | None
    source: str
    age_s: float | None


class VerifyView(Struct, frozen=True):
    """Whether the table is what gossip and local ports say."""

    ok: bool
    problems: tuple[str, ...]


class CountersView(Struct, frozen=True):
    """Frames that entered at one place, and what became of them."""

    received: int
    received_bytes: int
    delivered: int
    sent: int
    flooded: int
    replied: int
    drops: dict[str, int]
    out: int
    out_bytes: int


class PlaceView(Struct, frozen=True):
    """One place where frames enter: an endpoint, the tunnels of a network, or a peer."""

    kind: str
    name: str
    counters: CountersView


class StatsView(Struct, frozen=True):
    """Everything counted since the daemon's start."""

    places: tuple[PlaceView, ...]
    stray: dict[str, int]
    io: dict[str, int]
    control: dict[str, int]
    strangers: dict[str, int] = {}
    """Frames from addresses that are no VTEP of the network, by address."""


class StatusView(Struct, frozen=True):
    """The host at a glance."""

    name: str
    version: str
    pid: int
    uptime_s: float
    vtep: str
    underlay_device: str
    underlay_mtu: int
    datapath: str
    datapath_reason: str
    gossip_encrypted: bool
    cluster: str
    members: dict[str, int]
    """How many hosts are in which state, this one included."""
    networks: int
    endpoints: int
    alarms: tuple[str, ...]
    drops: dict[str, int]
