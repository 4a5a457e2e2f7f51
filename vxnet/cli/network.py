"""`vxnet network`: networks, known on every host."""

from typing import Annotated

import typer

from vxnet.api.model import AttachBody, DetachBody, EndpointBody, NetworkBody, NetworkView
from vxnet.cli import peer
from vxnet.cli.endpoint import join_body
from vxnet.cli.options import (
    DEFAULT_SOCKET,
    Ifname,
    Ips,
    Json,
    NetnsName,
    Pid,
    SandboxPath,
    Socket,
    TapName,
    connect,
)
from vxnet.cli.output import pairs, print_json, table

__all__ = ["app"]

app = typer.Typer(
    help="Create, list, inspect and remove networks.", no_args_is_help=True, rich_markup_mode=None
)

app.add_typer(peer.app, name="peer")
app.command("export")(peer.export)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The network.", show_default=False)]


@app.command()
def create(
    name: Name,
    driver: Annotated[str, typer.Option("--driver", "-d", help="What makes it.")] = "overlay",
    subnet: Annotated[
        list[str] | None,
        typer.Option("--subnet", help="A subnet, IPv4 or IPv6; several may be given."),
    ] = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option("--gateway", help="The default gateway of the subnet it lies in."),
    ] = None,
    vni: Annotated[int | None, typer.Option("--vni", help="The VXLAN network identifier.")] = None,
    mtu: Annotated[int | None, typer.Option("--mtu", help="The IP MTU inside.")] = None,
    internal: Annotated[
        bool, typer.Option("--internal", help="No way out (bridge networks).")
    ] = False,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="The subnets may be another network's, or a host's."),
    ] = False,
    opt: Annotated[
        list[str] | None, typer.Option("--opt", "-o", help="An option of the driver, KEY=VALUE.")
    ] = None,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Create a network, which all hosts then know.

    What is not said is chosen: the VNI from the name, a free IPv4 and IPv6 subnet, the MTU that
    the underlay leaves.

    Example:  vxnet network create blue --subnet 10.9.0.0/24
    """
    body = NetworkBody(
        name=name,
        driver=driver,
        subnets=tuple(subnet or ()),
        gateways=tuple(gateway or ()),
        vni=vni,
        mtu=mtu,
        options=_options([*(opt or []), *(["internal=true"] if internal else [])]),
        allow_overlap=allow_overlap,
    )
    answer = connect(socket).create_network(body)
    if json:
        print_json(answer)
    else:
        tunnel = "" if answer.vni is None else f"  VNI {answer.vni}"
        typer.echo(f"{answer.name}{tunnel}  {_subnets(answer)}  MTU {answer.mtu}")


@app.command("ls")
def list_networks(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """The networks of the cluster."""
    answer = connect(socket).networks()
    if json:
        print_json(answer)
        return
    table(
        ("NAME", "DRIVER", "VNI", "SUBNETS", "MTU", "ENDPOINTS HERE", "OTHER HOSTS"),
        ((n.name, n.driver, n.vni, _subnets(n), n.mtu, n.endpoints, n.hosts) for n in answer),
        "there are no networks; make one with: vxnet network create NAME",
    )


@app.command()
def inspect(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Everything about one network."""
    answer = connect(socket).network(name)
    if json:
        print_json(answer)
        return
    pairs(
        [
            ("name", answer.name),
            ("id", answer.id),
            ("driver", answer.driver),
            ("vni", answer.vni),
            ("subnets", _subnets(answer)),
            ("mtu", answer.mtu),
            ("options", answer.options),
            ("endpoints here", answer.endpoints),
            ("other hosts", answer.hosts),
        ]
    )


@app.command("rm")
def remove(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Remove a network from every host.

    Refused while anything is attached to it, on any host.
    """
    answer = connect(socket).remove_network(name)
    if json:
        print_json(answer)
    else:
        typer.echo(answer.name)


@app.command()
def drivers(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """What can make networks on this host.

    Says what each driver is for, and what this host lacks for it.
    """
    answer = connect(socket).drivers()
    if json:
        print_json(answer)
        return
    for driver in answer:
        pairs(
            [
                (driver.name, driver.purpose),
                ("  limits", driver.limits),
                ("  scope", driver.scope),
                ("  way out", driver.way_out),
                ("  here", f"no: {driver.lacks}" if driver.lacks else "yes"),
            ]
        )


@app.command("connect")
def connect_sandbox(
    network: Name,
    netns: NetnsName = None,
    pid: Pid = None,
    path: SandboxPath = None,
    tap: TapName = None,
    ifname: Ifname = "eth0",
    ip: Ips = None,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Put a sandbox into a network; `vxnet attach` has more options.

    Example:  vxnet network connect blue --netns web --ifname eth1
    """
    body = AttachBody(
        EndpointBody(network=network, ips=tuple(ip or ())), join_body(netns, pid, path, ifname, tap)
    )
    answer = connect(socket).attach(body)
    if json:
        print_json(answer)
    else:
        typer.echo(f"{answer.name}  {', '.join(answer.addresses)}")


@app.command()
def disconnect(
    network: Name,
    netns: NetnsName = None,
    pid: Pid = None,
    path: SandboxPath = None,
    tap: TapName = None,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Take a sandbox out of a network.

    Example:  vxnet network disconnect blue --netns web
    """
    answer = connect(socket).detach(DetachBody(network, join_body(netns, pid, path, "eth0", tap)))
    if json:
        print_json(answer)
    else:
        typer.echo(answer.name)


def _options(texts: list[str]) -> dict[str, str]:
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r}: write KEY=VALUE", param_hint="--opt")
        options[key] = value
    return options


def _subnets(network: NetworkView) -> str:
    return ", ".join(
        f"{subnet.prefix} via {subnet.gateway}" if subnet.gateway else subnet.prefix
        for subnet in network.subnets
    )
