"""`vxnet service`: one name and one address for many endpoints."""

import time
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from vxnet.api.model import DrainBody, ServiceBody, ServiceMemberView, ServiceView
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
def inspect(
    name: Name,
    rates: Annotated[
        bool, typer.Option("--rates", help="Look again after a second: flows that began in it.")
    ] = False,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Everything about one service: its members, their health, and this host's flows to them.

    Example:  vxnet service inspect shop --rates
    """
    client = connect(socket)
    if not rates:
        _show(client.service(name), json)
        return
    before = {one.endpoint: one.begun for one in client.service(name).members}
    began = time.monotonic()
    time.sleep(1.0)
    after = client.service(name)
    seconds = time.monotonic() - began
    found = {
        one.endpoint: (one.begun - before.get(one.endpoint, one.begun)) / seconds
        for one in after.members
    }
    if json:
        print_json({"service": after, "flows_per_s": found})
    else:
        _show(after, json, found)


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


def _show(service: ServiceView, json: bool, rates: Mapping[str, float] | None = None) -> None:
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
        columns: dict[str, Callable[[ServiceMemberView], object]] = {
            "MEMBER": lambda m: m.endpoint,
            "HOST": lambda m: m.host,
            "ADDRESSES": lambda m: m.addresses,
            "SERVING": lambda m: m.serving,
            "FLOWS FROM HERE": lambda m: m.flows,
            "EVER": lambda m: m.begun,
        }
        if rates is not None:
            columns["A SECOND"] = lambda m: f"{rates[m.endpoint]:.0f}"
        if service.published:
            columns["SEES"] = lambda m: m.sees
        rows = (tuple(cell(m) for cell in columns.values()) for m in service.members)
        table(tuple(columns), rows, "")
