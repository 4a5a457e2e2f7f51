"""The checks of a cluster at rest: members, endpoints, traffic of every kind, separation."""

import itertools
import socket
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from vxnet.demo.report import Finding
from vxnet.demo.stage import Check, Stage
from vxnet.demo.station import Station
from vxnet.demo.traffic import exchange, ping, shout, transfer

__all__ = ["CHECKS"]

MAIN, OTHER = "blue", "green"
SUBNETS = ("10.9.0.0/24", "fd00:9::/64")
KNOWN_WITHIN_S = 2.0
DATAGRAM_SIZES = (1, 64, 512, 1200, 1400, 3000, 8000)
DATAGRAM_ROUNDS = 25
GREETINGS = (64,) * 50
PARALLEL = 16


def members_up(stage: Stage) -> Finding:
    """Every daemon sees every member alive."""
    cluster = stage.cluster
    seconds = cluster.wait_for_members()
    return Finding(
        True,
        f"{len(cluster.daemons)} daemons, each sees all alive {seconds:.1f} s after the last start",
        {"seconds": seconds, "members": [d.host.label for d in cluster.daemons]},
    )


def endpoints_attached(stage: Stage) -> Finding:
    """A network made on one host is there on all; each attaches a sandbox to it."""
    cluster = stage.cluster
    cluster.daemons[0].create_network(MAIN, SUBNETS)
    seconds = cluster.wait_for_network(MAIN)
    with ThreadPoolExecutor(PARALLEL) as pool:
        stage.attached = list(pool.map(lambda daemon: daemon.attach(MAIN), cluster.daemons))
    addresses = [address for s in stage.stations for address in s.addresses]
    distinct = len(set(addresses)) == len(addresses)
    return Finding(
        seconds <= KNOWN_WITHIN_S and distinct,
        f"network {MAIN} known everywhere after {seconds:.2f} s; "
        + ", ".join(f"{s.label} {s.ipv4}" for s in stage.stations)
        + ("" if distinct else "; an address was handed out twice"),
        {
            "seconds_until_known": seconds,
            "stations": {s.label: {"mac": s.mac, "ips": s.addresses} for s in stage.stations},
        },
    )


def pings_answered(stage: Stage) -> Finding:
    """Every station pings every other, IPv4 and IPv6."""
    jobs = [
        (source, target, address)
        for source, target in itertools.permutations(stage.stations, 2)
        for address in target.addresses
    ]
    with ThreadPoolExecutor(PARALLEL) as pool:
        times = list(pool.map(lambda job: ping(job[0], job[2], count=2), jobs))
    silent = [
        f"{source.label} > {target.label} ({address})"
        for (source, target, address), time in zip(jobs, times, strict=True)
        if time is None
    ]
    answered = sorted(time for time in times if time is not None)
    seen = f"{len(answered)} of {len(jobs)} answered"
    if answered:
        seen += f", median {answered[len(answered) // 2]:.2f} ms"
    if silent:
        seen += f"; silent: {', '.join(silent[:5])}"
    return Finding(
        bool(jobs) and not silent,
        seen,
        {"pings": len(jobs), "answered": len(answered), "silent": silent, "times_ms": answered},
    )


def stream_intact(stage: Stage) -> Finding:
    """A long TCP stream between two hosts arrives as it was sent."""
    source, target = stage.stations[0], stage.stations[-1]
    done = transfer(source, target, target.addresses[0], stage.transfer_bytes)
    return Finding(
        done.intact and done.received_bytes == stage.transfer_bytes,
        f"{done.received_bytes / 1e6:.0f} MB {source.label} > {target.label} in "
        f"{done.seconds:.2f} s ({done.gigabits_per_second:.2f} Gbit/s), SHA-256 "
        f"{done.sent_digest[:12]} sent, {done.received_digest[:12]} received",
        {
            "bytes": done.received_bytes,
            "seconds": done.seconds,
            "sent_sha256": done.sent_digest,
            "received_sha256": done.received_digest,
        },
    )


def datagrams_echoed(stage: Stage) -> Finding:
    """UDP of many sizes, fragments included, comes back unchanged over IPv4 and IPv6."""
    source, target = stage.stations[-1], stage.stations[0]
    sizes = DATAGRAM_SIZES * DATAGRAM_ROUNDS
    sent = intact = 0
    for address in target.addresses:
        one_sent, one_intact = exchange(source, target, address, sizes)
        sent, intact = sent + one_sent, intact + one_intact
    return Finding(
        sent > 0 and intact == sent,
        f"{intact} of {sent} datagrams of {min(sizes)} to {max(sizes)} octets echoed unchanged",
        {"sent": sent, "intact": intact},
    )


def broadcast_heard(stage: Stage) -> Finding:
    """An IPv4 broadcast and an IPv6 multicast to all nodes reach every other station once."""
    source, others = stage.stations[0], stage.stations[1:]
    wanted = Counter(station.label for station in others)
    heard = {
        "IPv4 broadcast": shout(source, others, socket.AF_INET),
        "IPv6 multicast": shout(source, others, socket.AF_INET6),
    }
    return Finding(
        bool(wanted) and all(ears == wanted for ears in heard.values()),
        ", ".join(
            f"{kind} heard {ears.total()} times by {len(ears)} of {len(wanted)}"
            for kind, ears in heard.items()
        ),
        {"wanted": wanted, "heard": heard},
    )


def networks_apart(stage: Stage) -> Finding:
    """A second network with the same MACs and addresses answers for itself only."""
    cluster = stage.cluster
    cluster.daemons[0].create_network(OTHER, SUBNETS)
    cluster.wait_for_network(OTHER)
    first, last = stage.stations[0], stage.stations[-1]
    twins = [
        cluster.daemons[0].attach(OTHER, like=first),
        cluster.daemons[-1].attach(OTHER, like=last),
    ]
    leaks = [
        *_wrong_answers([(first, last), (twins[0], twins[1])]),
        *(
            f"{OTHER}'s broadcast reached {label}"
            for label in shout(twins[0], stage.stations, socket.AF_INET, wait_s=0.5)
        ),
        *(
            f"{MAIN}'s broadcast reached {label}"
            for label in shout(first, twins, socket.AF_INET, wait_s=0.5)
        ),
    ]
    between = stage.stations[1:-1]
    leaks += [
        f"{OTHER} reaches {station.label}"
        for station in between[:1]
        if ping(twins[0], station.addresses[0], wait_s=1) is not None
    ]
    return Finding(
        not leaks,
        f"{last.addresses[0]} in {MAIN} and in {OTHER} are two stations, broadcasts stay apart"
        if not leaks
        else "; ".join(leaks),
        {"leaks": leaks, "twins": [t.label for t in twins]},
    )


def _wrong_answers(pairs: Iterable[tuple[Station, Station]]) -> list[str]:
    """Each pair's first must reach its own second, both listening at one address at one time."""
    pairs = list(pairs)
    with ThreadPoolExecutor(len(pairs)) as pool:
        answers = list(
            pool.map(
                lambda pair: exchange(pair[0], pair[1], pair[1].addresses[0], GREETINGS), pairs
            )
        )
    return [
        f"{source.label} > {target.label}: {intact} of {sent} answers were its own"
        for (source, target), (sent, intact) in zip(pairs, answers, strict=True)
        if intact != sent
    ]


CHECKS = (
    Check("members", "Members up", members_up),
    Check("endpoints", "A network and an endpoint on every host", endpoints_attached),
    Check("ping", "Ping between all pairs, IPv4 and IPv6", pings_answered),
    Check("tcp", "A TCP stream, digests compared", stream_intact),
    Check("udp", "UDP of many sizes", datagrams_echoed),
    Check("broadcast", "Broadcast reaches everyone", broadcast_heard),
    Check("isolation", "A second network with the same addresses", networks_apart),
)
