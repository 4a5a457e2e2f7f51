"""`vxnet service`: one name and one address for many endpoints."""

from typing import Annotated

import typer

from vxnet.api.model import DrainBody, ServiceBody, ServiceView
from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import pairs, print_json, table

__all__ = ["app"]

app = typer.Typer(
    help="Create, list, inspect, drain and remove services.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The service.", show_default=False)]


@app.command()
def create(
    name: Name,
    network: Annotated[
        str, typer.Option("--network", "-n", help="Where it is.", show_default=False)
    ],
    vip: Annotated[
        str, typer.Option("--vip", help="Its address: auto, one of the network's, or none.")
    ] = "auto",
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port", metavar="PORT[:MEMBER][/udp]", help="Its port, and the members' behind it."
        ),
    ] = None,
    health: Annotated[
        str, typer.Option("--health", help="How members are asked: none, tcp or http:/path.")
    ] = "none",
    prefer_local: Annotated[
        bool, typer.Option("--prefer-local", help="Take members of the client's host first.")
    ] = False,
    publish: Annotated[
        list[str] | None,
        typer.Option(
            "--publish",
            metavar="PORT[:PORT][/udp]",
            help="A port of every host that leads to one of the service.",
        ),
    ] = None,
    publish_mode: Annotated[
        str,
        typer.Option(
            "--publish-mode", help="ingress: at every host; host: at those with members, for them."
        ),
    ] = "ingress",
    proxy_protocol: Annotated[
        str,
        typer.Option(
            "--proxy-protocol", help="v2: tell members who comes by published ports; or none."
        ),
    ] = "none",
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Create a service, which all hosts then know.

    Members are attached with --service.

    Example:  vxnet service create shop --network blue --port 80:8080 --publish 8080:80
    """
    body = ServiceBody(
        name=name,
        network=network,
        vip=vip,
        ports=tuple(port or ()),
        health=health,
        prefer_local=prefer_local,
        publish=tuple(publish or ()),
        publish_mode=publish_mode,
        proxy_protocol=proxy_protocol,
    )
    _show(connect(socket).create_service(body), json)


@app.command("ls")
def list_services(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """The services of the cluster."""
    answer = connect(socket).services()
    if json:
        print_json(answer)
        return
    table(
        ("NAME", "NETWORK", "ADDRESSES", "PORTS", "HEALTHY"),
        ((s.name, s.network, s.vips, s.ports, _healthy(s)) for s in answer),
        "there are no services; make one with: vxnet service create NAME --network NETWORK",
    )


@app.command()
def inspect(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Everything about one service: its members, their health, and this host's flows to them."""
    _show(connect(socket).service(name), json)


@app.command()
def drain(
    name: Name,
    endpoint: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="A member of this host.", show_default=False)
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Give it new flows again.")] = False,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Give a member no new flows; those it has go on.

    Example:  vxnet service drain shop web-1
    """
    _show(connect(socket).drain(name, DrainBody(endpoint, wanted=not undo)), json)


@app.command("rm")
def remove(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Remove a service from every host. Its members stay."""
    answer = connect(socket).remove_service(name)
    if json:
        print_json(answer)
    else:
        typer.echo(answer.name)


def _healthy(service: ServiceView) -> str:
    well = sum(member.serving == "healthy" for member in service.members)
    return f"{well} of {len(service.members)}"


def _show(service: ServiceView, json: bool) -> None:
    if json:
        print_json(service)
        return
    pairs(
        [
            ("name", service.name),
            ("network", service.network),
            ("addresses", service.vips),
            ("ports", service.ports),
            ("health check", service.health),
            ("prefer local", "yes" if service.prefer_local else "no"),
            ("healthy", _healthy(service)),
        ]
    )
    if service.published:
        typer.echo()
        table(
            ("PUBLISHED", "MODE", "PROXY PROTOCOL", "ON THIS HOST", "CONNECTIONS"),
            (
                (one.port, service.publish_mode, service.proxy_protocol, one.state, one.connections)
                for one in service.published
            ),
            "",
        )
    if service.members:
        typer.echo()
        # What comes to published ports is seen as by this host's relays.
        sees = ("SEES",) if service.published else ()
        table(
            ("MEMBER", "HOST", "ADDRESSES", "SERVING", "FLOWS FROM HERE", *sees),
            (
                (m.endpoint, m.host, m.addresses, m.serving, m.flows, *(m.sees for _ in sees))
                for m in service.members
            ),
            "",
        )
