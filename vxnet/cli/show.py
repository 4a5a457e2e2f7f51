"""`vxnet status`, `peers`, `fdb` and `stats`: what the daemon knows."""

from collections.abc import Iterator
from typing import Annotated

import typer

from vxnet.api.model import CountersView, StatusView, VerifyView
from vxnet.cli.options import DEFAULT_SOCKET, Json, NetworkFilter, Socket, connect
from vxnet.cli.output import pairs, print_json, table

__all__ = ["fdb", "peers", "stats", "status"]


def status(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """This host at a glance: datapath, members, alarms, drops.

    Example:  vxnet status --json | jq .alarms
    """
    answer = connect(socket).status()
    if json:
        print_json(answer)
        return
    pairs(_status_lines(answer))


MEMBER = ("NAME", "STATE", "FOR", "VTEP", "GOSSIP")


def peers(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """The hosts of the cluster, this one first."""
    answer = connect(socket).peers()
    if json:
        print_json(answer)
        return
    table(
        (*MEMBER, "RTT", "PATH MTU", "HEALTH", "VERSION", "DATAPATH"),
        (
            (
                f"{member.name} (this host)" if member.local else member.name,
                member.state,
                duration(member.for_s),
                member.vtep,
                member.gossip,
                None if member.rtt_ms is None else f"{member.rtt_ms:.2f} ms",
                member.path_mtu,
                member.local_health,
                member.version,
                member.datapath,
            )
            for member in answer
        ),
        "there are no hosts",
    )


def fdb(
    network: NetworkFilter = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the table with what gossip says; exit 1.")
    ] = False,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """The forwarding table: which MAC is behind which host.

    Example:  vxnet fdb --network blue
    """
    if verify:
        _tell(connect(socket).verify(), "the table is what gossip and local ports say", json)
        return
    answer = connect(socket).fdb(network)
    if json:
        print_json(answer)
        return
    table(
        ("NETWORK", "VNI", "MAC", "ADDRESSES", "WHERE", "SOURCE", "AGE"),
        (
            (
                row.network,
                row.vni,
                row.mac,
                row.ips,
                f"here, {row.endpoint}" if row.vtep is None else f"{row.vtep} {row.host or ''}",
                row.source,
                None if row.age_s is None else duration(row.age_s),
            )
            for row in answer
        ),
        "the table is empty: nothing is attached",
    )


def stats(
    verify: Annotated[
        bool,
        typer.Option("--verify", help="See that no frame is in no counter, or in two; exit 1."),
    ] = False,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """What was counted since the start, and why frames were dropped.

    Example:  vxnet stats --verify
    """
    if verify:
        _tell(connect(socket).verify_stats(), "every frame is in exactly one counter", json)
        return
    answer = connect(socket).stats()
    if json:
        print_json(answer)
        return
    table(
        ("WHERE", "NAME", "IN", "DELIVERED", "SENT", "FLOODED", "REPLIED", "DROPPED", "OUT"),
        (
            (place.kind, place.name, *_counter_cells(place.counters), place.counters.out)
            for place in answer.places
        ),
        "nothing was counted yet",
    )
    for title, counters in (
        ("belongs to no network here", answer.stray),
        ("machinery", answer.io),
        ("control plane", answer.control),
        ("from no VTEP of the network", answer.strangers),
    ):
        shown = {name: count for name, count in counters.items() if count}
        if shown:
            typer.echo(f"\n{title}:")
            pairs((f"  {name}", count) for name, count in sorted(shown.items()))


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _tell(answer: VerifyView, good: str, json: bool) -> None:
    if json:
        print_json(answer)
    elif answer.ok:
        typer.echo(good)
    for problem in answer.problems:
        typer.echo(problem, err=True)
    if not answer.ok:
        raise typer.Exit(1)


def _status_lines(answer: StatusView) -> Iterator[tuple[str, object]]:
    yield "host", f"{answer.name}, vxnet {answer.version}, pid {answer.pid}"
    yield "up for", duration(answer.uptime_s)
    yield "vtep", f"{answer.vtep} on {answer.underlay_device}, MTU {answer.underlay_mtu}"
    yield "datapath", f"{answer.datapath}: {answer.datapath_reason}"
    yield "cluster", answer.cluster
    yield "gossip", "encrypted" if answer.gossip_encrypted else "not encrypted: no key_file is set"
    yield "members", answer.members
    yield "networks", answer.networks
    yield "endpoints", answer.endpoints
    yield "drops", answer.drops
    if not answer.alarms:
        yield "alarms", "none"
    for alarm in answer.alarms:
        yield "ALARM", alarm


def _counter_cells(counters: CountersView) -> tuple[object, ...]:
    drops = sum(counters.drops.values())
    reasons = f"{drops} ({', '.join(counters.drops)})" if drops else 0
    return (
        counters.received,
        counters.delivered,
        counters.sent,
        counters.flooded,
        counters.replied,
        reasons,
    )
