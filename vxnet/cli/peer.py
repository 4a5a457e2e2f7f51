"""`vxnet network peer` and `vxnet network export`: VTEPs that do not speak vxnet's gossip."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from vxnet.api.model import ForeignView, PeerBody
from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import print_json, table

__all__ = ["Kind", "app", "commands", "export"]

app = typer.Typer(
    help="VTEPs of a network that are no hosts of the cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Network = Annotated[str, typer.Argument(metavar="NETWORK", help="The network.", show_default=False)]
VtepText = Annotated[
    str,
    typer.Argument(metavar="VTEP", help="Its address, with or without a port.", show_default=False),
]


@app.command()
def add(
    network: Network,
    vtep: VtepText,
    mtu: Annotated[
        int | None, typer.Option("--mtu", help="The IP MTU inside, where the way carries less.")
    ] = None,
    learning: Annotated[
        bool, typer.Option(help="Learn its stations from the frames it sends.")
    ] = True,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Let this host exchange a network's frames with a foreign VTEP.

    What the other side needs, `vxnet network export` prints.

    Example:  vxnet network peer add blue 192.0.2.9 --mtu 1400
    """
    _show(connect(socket).add_foreign(network, PeerBody(vtep, learning=learning, mtu=mtu)), json)


@app.command("rm")
def remove(
    network: Network, vtep: VtepText, socket: Socket = DEFAULT_SOCKET, json: Json = False
) -> None:
    """No longer exchange frames with a foreign VTEP; what was learned behind it is forgotten."""
    _show(connect(socket).remove_foreign(network, vtep), json)


@app.command("ls")
def list_peers(network: Network, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """The foreign VTEPs that this host reaches, and who named them."""
    answer = connect(socket).foreign(network)
    if json:
        print_json(answer)
        return
    table(
        ("VTEP", "NAMED BY", "LEARNING", "MTU"),
        ((p.vtep, p.source, "yes" if p.learning else "no", p.mtu) for p in answer),
        f"there are none; add one with: vxnet network peer add {network} VTEP",
    )


def _show(answer: ForeignView, json: bool) -> None:
    if json:
        print_json(answer)
    else:
        typer.echo(answer.vtep)


class Kind(StrEnum):
    """What can be told to become a member."""

    LINUX = "linux"
    OVS = "ovs"


def export(
    network: Network,
    kind: Annotated[Kind, typer.Option("--for", help="What runs on the other side.")],
    vtep: Annotated[
        str, typer.Option("--vtep", help="The other side's own underlay address.")
    ] = "OWN_ADDRESS",
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Print the commands by which another machine joins a network.

    They are for that machine, once `vxnet network peer add` was run on every host named.

    Example:  vxnet network export blue --for linux --vtep 192.0.2.9
    """
    client = connect(socket)
    found = client.network(network)
    status = client.status()
    if found.vni is None:
        typer.echo(f"a {found.driver} network has no VNI, so nothing else can join it", err=True)
        raise typer.Exit(1)
    members = {member.name: member.vtep for member in client.peers()}
    hosts = [status.vtep, *(members[name] for name in found.hosts if name in members)]
    addresses = [host.rpartition(":")[0].strip("[]") for host in hosts]
    port = int(status.vtep.rpartition(":")[2])
    lines = list(commands(kind, found.vni, port, found.mtu, vtep, addresses))
    if json:
        print_json(lines)
    else:
        typer.echo("\n".join(lines))


def commands(
    kind: Kind, vni: int, port: int, mtu: int, own: str, remotes: list[str]
) -> Iterator[str]:
    """The commands for one kind, a line each."""
    if kind is Kind.LINUX:
        device = f"vxlan{vni}"[:15]
        yield f"ip link add {device} mtu {mtu} type vxlan id {vni} dstport {port} local {own}"
        for remote in remotes:
            yield f"bridge fdb append 00:00:00:00:00:00 dev {device} dst {remote}"
        yield f"ip link set {device} up"
        return
    bridge = f"br{vni}"
    yield f"ovs-vsctl --may-exist add-br {bridge}"
    for number, remote in enumerate(remotes, start=1):
        tunnel = f"vx{vni}_{number}"
        # What comes out of one tunnel must go into no other: `protected` is Open vSwitch's word.
        yield (
            f"ovs-vsctl --may-exist add-port {bridge} {tunnel} -- set port {tunnel} protected=true "
            f"-- set interface {tunnel} type=vxlan options:key={vni} options:dst_port={port} "
            f"options:remote_ip={remote} options:local_ip={own}"
        )
