"""What is wrong by what the daemon says: alarms, members, networks, and the ways to other hosts."""

import ipaddress
from collections.abc import Sequence
from typing import Final

from vxnet.api.model import EndpointView, FdbView, MemberView, NetworkView, StatusView
from vxnet.api.seen import FactsView, ProbeView
from vxnet.cnm.model import IpNetwork
from vxnet.config import Settings
from vxnet.doctor.finding import HERE, Finding, Findings
from vxnet.gossip.events import AlarmKind

__all__ = ["alarms", "duplicates", "members", "overlaps", "table", "unreadable", "ways"]

RECENT_S: Final = 900.0
"""How long something that was wrong, and of which nobody says when it is over, is told."""

HEARD_S: Final = 60.0
"""Seeds that wait for an answer ask again within seconds."""

CLOCK_MS: Final = 1000.0

MENDS: Final[dict[str, str]] = {
    AlarmKind.DUPLICATE_NAME: "give one of them another node.name and restart vxnet there",
    AlarmKind.DUPLICATE_ADDRESS: "set node.vtep right on the wrong one and restart vxnet there",
    AlarmKind.DUPLICATE_IP: "vxnet history ip ADDRESS shows who said so; detach the wrong one",
    AlarmKind.DUPLICATE_ID: "on the copy: rm gossip.json in its state directory, and restart vxnet",
    AlarmKind.MAC_FROZEN: "vxnet history mac MAC shows between which hosts; detach the wrong one",
    AlarmKind.STREAM_MISMATCH: "restart vxnet on the host it is about",
    AlarmKind.VERSION_MISMATCH: "upgrade the older one",
    "loop": "unjoin the two sandboxes; vxnet history mac MAC shows where it was seen",
    "duplicate address": "vxnet history ip ADDRESS shows who said so; detach the wrong one",
    AlarmKind.BOUND_REACHED: "vxnet stats shows which; remove what is not needed",
}
"""Of the alarms that doctor cannot look into by itself."""

ASK_HISTORY: Final = "vxnet status and the daemon's log say more"

LOOKED_INTO: Final = frozenset((AlarmKind.SEEDS_SILENT,))

_UNREADABLE: Final = (
    (
        "cluster",
        "other_cluster",
        "give both the same gossip.cluster, or take each other out of gossip.seeds",
    ),
    (
        "key",
        "wrong_key",
        "copy gossip.key_file from a host of the cluster to the other one, and restart it",
    ),
    ("wire version", "version_mismatch", "upgrade the older one"),
)
"""A word of the reason, what it is called, and the mend; the first that fits."""

_NAMES: Final[dict[str, str]] = {
    "duplicate address": "duplicate_ip",
    AlarmKind.MAC_FROZEN: "duplicate_mac",
    AlarmKind.DUPLICATE_ADDRESS: "duplicate_vtep",
}


def alarms(facts: FactsView) -> Findings:
    """What the control plane found."""
    for alarm in facts.alarms:
        if alarm.age_s <= RECENT_S and alarm.kind not in LOOKED_INTO:
            name = _NAMES.get(alarm.kind, alarm.kind)
            yield Finding(name, HERE, alarm.text.rstrip("."), MENDS.get(alarm.kind, ASK_HISTORY))


def members(
    status: StatusView, peers: Sequence[MemberView], facts: FactsView, settings: Settings
) -> Findings:
    """Hosts that are down, seeds that are silent, software that differs."""
    for peer in peers:
        if peer.local:
            continue
        if peer.state in ("dead", "suspect"):
            yield Finding(
                "peer_down",
                peer.name,
                f"it has been {peer.state} for {peer.for_s:.0f} s",
                f"look there with: systemctl status vxnet; or here with: ping"
                f" {peer.vtep.rpartition(':')[0].strip('[]')}",
            )
        elif peer.state == "alive" and peer.version != status.version:
            yield Finding(
                "version_mismatch",
                peer.name,
                f"it runs vxnet {peer.version or 'of an unknown version'}, this host"
                f" {status.version}",
                "install the newer one on both",
            )
    known = {peer.gossip for peer in peers if peer.state in ("alive", "suspect")}
    heard = {one.address for one in facts.unreadable if one.age_s < HEARD_S}
    for seed in facts.seeds:
        if seed not in known and seed not in heard:
            yield Finding(
                "seed_silent",
                HERE,
                f"the seed {seed} does not answer",
                "start vxnet there, or take it out of gossip.seeds and: systemctl reload vxnet",
            )
    if not facts.seeds and settings.gossip.seeds:
        yield Finding(
            "seed_silent",
            HERE,
            f"none of the seeds {', '.join(settings.gossip.seeds)} has an address",
            "write addresses into gossip.seeds, or mend DNS; then: systemctl reload vxnet",
        )


def unreadable(facts: FactsView) -> Findings:
    """Hosts whose gossip cannot be opened: another key, another cluster, another version."""
    for one in facts.unreadable:
        if one.age_s < HEARD_S:
            name, mend = next(
                ((name, mend) for word, name, mend in _UNREADABLE if word in one.why),
                ("stranger", "let only hosts of the cluster reach the gossip's port"),
            )
            # Anybody can send octets that are nothing at all.
            advice = name == "stranger"
            yield Finding(name, one.address, f"it sends {one.why}", mend, advice)


def table(facts: FactsView) -> Findings:
    """The forwarding table is what gossip and local ports say."""
    for problem in facts.table:
        yield Finding("table", HERE, problem, "systemctl restart vxnet")


def overlaps(networks: Sequence[NetworkView], prefixes: Sequence[IpNetwork]) -> Findings:
    """Subnets of overlays that this host routes elsewhere."""
    for network in networks:
        if network.vni is None:
            continue
        for subnet in network.subnets:
            ours = ipaddress.ip_network(subnet.prefix)
            for theirs in prefixes:
                if ours.version == theirs.version and ours.overlaps(theirs):
                    yield Finding(
                        "subnet_overlap",
                        HERE,
                        f"network {network.name} has {ours}, and this host has a route to {theirs}",
                        f"ip route del {theirs}, or make the network anew with another --subnet",
                    )


def duplicates(endpoints: Sequence[EndpointView], rows: Sequence[FdbView]) -> Findings:
    """Stations elsewhere that have what an endpoint of this host has, or what another has."""
    ours = {(endpoint.network, endpoint.mac): endpoint for endpoint in endpoints}
    holders: dict[tuple[str, str], str] = {}
    for endpoint in endpoints:
        for address in endpoint.addresses:
            ip = str(ipaddress.ip_interface(address).ip)
            holders[endpoint.network, ip] = endpoint.mac
    for row in rows:
        rival = ours.get((row.network, row.mac))
        if rival is not None and row.vtep is not None:
            yield Finding(
                "duplicate_mac",
                HERE,
                f"endpoint {rival.name} has the MAC {row.mac}, and a station behind"
                f" {row.host or row.vtep} has it too",
                f"detach the one that is wrong: vxnet detach {rival.name}",
            )
        for ip in row.ips:
            holder = holders.setdefault((row.network, ip), row.mac)
            if holder != row.mac:
                yield Finding(
                    "duplicate_ip",
                    HERE,
                    f"{ip} of network {row.network} is held by {holder} and by {row.mac}",
                    f"detach the one that is wrong; vxnet history ip {ip} shows who said so",
                )


def ways(found: Sequence[ProbeView], settings: Settings) -> Findings:
    """The ways to each host, both directions of each apart."""
    for way in found:
        vxlan, gossip = f"UDP port {settings.vxlan.port}", f"UDP port {settings.gossip.port}"
        yield from _direction(
            way, "gossip_unreachable", gossip, way.letter_arrives, way.letter_returns
        )
        if not way.connects:
            yield Finding(
                "gossip_tcp_unreachable",
                way.peer,
                f"its TCP port {settings.gossip.port} takes no connection from here, so larger"
                " answers of the gossip do not travel",
                _open_port("tcp", settings.gossip.port, way.peer),
            )
        yield from _direction(way, "vxlan_unreachable", vxlan, way.frame_arrives, way.frame_returns)
        # Nothing is known of sizes where one direction does not work at all.
        if 0 < way.largest_returns < way.expected:
            yield Finding(
                "path_mtu",
                way.peer,
                f"packets of {way.largest_returns} octets pass between here and there, and larger"
                f" ones do not, though the underlay's MTU is said to be {way.expected}",
                f"set node.mtu = {way.largest_returns} on every host, or raise the MTU on the way"
                f" to {way.expected}",
            )
        if way.clock_ahead_ms is not None and abs(way.clock_ahead_ms) > CLOCK_MS:
            side = "ahead of" if way.clock_ahead_ms > 0 else "behind"
            yield Finding(
                "clock_skew",
                way.peer,
                f"its clock is {abs(way.clock_ahead_ms) / 1000:.1f} s {side} this host's",
                "on both: timedatectl set-ntp true",
            )


def _direction(way: ProbeView, name: str, port: str, arrives: bool, returns: bool) -> Findings:
    protocol, number = "udp", int(port.rpartition(" ")[2])
    if arrives and returns:
        return
    if not arrives and not returns:
        text = f"nothing passes to its {port} from here, nor from there"
        mend = _open_port(protocol, number, "both hosts")
    elif not arrives:
        text = (
            f"what this host sends does not arrive at its {port}, though the other direction works"
        )
        mend = _open_port(protocol, number, way.peer)
    else:
        text = f"what it sends does not arrive at {port} here, though the other direction works"
        mend = _open_port(protocol, number, HERE)
    yield Finding(name, way.peer, text, mend)


def _open_port(protocol: str, port: int, where: str) -> str:
    return (
        f"look for what drops it on {where}, and between: nft list ruleset; a host lets it in with:"
        f" nft insert rule inet filter input {protocol} dport {port} accept"
    )
