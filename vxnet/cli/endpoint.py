"""`vxnet endpoint`, `attach` and `detach`: what this host has in networks."""

import time
from typing import Annotated

import typer

from vxnet.api.client import Client
from vxnet.api.model import AttachBody, DrainBody, EndpointBody, EndpointView, JoinBody
from vxnet.cli.options import (
    DEFAULT_SOCKET,
    Aliases,
    Ifname,
    Ips,
    Json,
    MacText,
    Memberships,
    NetnsName,
    NetworkFilter,
    Pid,
    Priority,
    Publish,
    SandboxPath,
    Socket,
    TapName,
    connect,
)
from vxnet.cli.output import pairs, print_json, table

__all__ = ["app", "attach", "detach", "join_body"]

app = typer.Typer(
    help="Create, join, list and remove endpoints.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Network = Annotated[str, typer.Argument(metavar="NETWORK", help="The network.", show_default=False)]
Endpoint = Annotated[
    str,
    typer.Argument(metavar="ENDPOINT", help="Its name, or how its id begins.", show_default=False),
]
Name = Annotated[str, typer.Option("--name", help="What it is called.", show_default=False)]


def attach(
    network: Network,
    netns: NetnsName = None,
    pid: Pid = None,
    path: SandboxPath = None,
    tap: TapName = None,
    ifname: Ifname = "eth0",
    ip: Ips = None,
    mac: MacText = "",
    name: Name = "",
    alias: Aliases = None,
    service: Memberships = None,
    publish: Publish = None,
    priority: Priority = 0,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Put a network namespace or a virtual machine into a network.

    Makes an endpoint, joins it, and prints it.

    Examples:

      vxnet attach blue --netns web

      vxnet attach blue --pid $(docker inspect -f '{{.State.Pid}}' db) --ip 10.9.0.7

      vxnet attach blue --tap vm0 --mac 52:54:00:12:34:56
    """
    endpoint = EndpointBody(
        network=network,
        name=name,
        ips=tuple(ip or ()),
        mac=mac,
        publish=tuple(publish or ()),
        priority=priority,
        aliases=tuple(alias or ()),
        services=tuple(service or ()),
    )
    join = join_body(netns, pid, path, ifname, tap)
    _show(connect(socket).attach(AttachBody(endpoint, join)), json)


def detach(
    endpoint: Endpoint,
    drain: Annotated[
        float,
        typer.Option(
            "--drain",
            metavar="SECONDS",
            min=0.0,
            help="Before that, let its services give it nothing new for so long.",
        ),
    ] = 0.0,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Take an endpoint out of its namespace and remove it. What it has of services is reset.

    Example:  vxnet detach web1 --drain 30
    """
    client = connect(socket)
    if drain:
        _drain(client, client.endpoint(endpoint), drain)
    _show(client.remove_endpoint(endpoint), json)


def _drain(client: Client, endpoint: EndpointView, seconds: float) -> None:
    """Wait while connections to a member end. It takes new ones again where nobody waits for it."""
    for service in endpoint.services:
        client.drain(service, DrainBody(endpoint.id, wanted=True))
    try:
        time.sleep(seconds if endpoint.services else 0.0)
    except KeyboardInterrupt:
        for service in endpoint.services:
            client.drain(service, DrainBody(endpoint.id, wanted=False))
        raise


@app.command()
def create(
    network: Network,
    name: Name = "",
    alias: Aliases = None,
    service: Memberships = None,
    ip: Ips = None,
    mac: MacText = "",
    publish: Publish = None,
    priority: Priority = 0,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Make an endpoint that is in no namespace yet.

    Example:  vxnet endpoint create blue --name web --ip 10.9.0.7
    """
    body = EndpointBody(
        network=network,
        name=name,
        ips=tuple(ip or ()),
        mac=mac,
        publish=tuple(publish or ()),
        priority=priority,
        aliases=tuple(alias or ()),
        services=tuple(service or ()),
    )
    _show(connect(socket).create_endpoint(body), json)


@app.command()
def join(
    endpoint: Endpoint,
    netns: NetnsName = None,
    pid: Pid = None,
    path: SandboxPath = None,
    tap: TapName = None,
    ifname: Ifname = "eth0",
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Put an endpoint into a namespace, or onto a TAP for a VM.

    Example:  vxnet endpoint join web --netns web
    """
    body = join_body(netns, pid, path, ifname, tap)
    _show(connect(socket).join(endpoint, body), json)


@app.command()
def leave(endpoint: Endpoint, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Take an endpoint out of its namespace.

    It keeps its MAC and addresses.
    """
    _show(connect(socket).leave(endpoint), json)


@app.command("ls")
def list_endpoints(
    network: NetworkFilter = None, socket: Socket = DEFAULT_SOCKET, json: Json = False
) -> None:
    """The endpoints of this host."""
    answer = connect(socket).endpoints(network)
    if json:
        print_json(answer)
        return
    table(
        ("ID", "NAME", "NETWORK", "MAC", "ADDRESSES", "STATE", "SANDBOX", "INTERFACE"),
        (
            (e.id[:12], e.name, e.network, e.mac, e.addresses, e.state, e.sandbox, e.ifname)
            for e in answer
        ),
        "this host has no endpoints; make one with: vxnet attach NETWORK --netns NAME",
    )


@app.command()
def inspect(endpoint: Endpoint, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Everything about one endpoint."""
    _show(connect(socket).endpoint(endpoint), json)


@app.command("rm")
def remove(endpoint: Endpoint, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Remove an endpoint, from its namespace too."""
    _show(connect(socket).remove_endpoint(endpoint), json)


def join_body(
    netns: str | None, pid: int | None, path: str | None, ifname: str, tap: str | None = None
) -> JoinBody:
    """The sandbox that the options name. Raises BadParameter unless it is exactly one."""
    given = [
        (kind, str(value))
        for kind, value in (("netns", netns), ("pid", pid), ("path", path), ("tap", tap))
        if value is not None
    ]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --netns, --pid, --path and --tap")
    ((kind, value),) = given
    return JoinBody(sandbox_kind=kind, sandbox=value, ifname=value if kind == "tap" else ifname)


def _show(endpoint: EndpointView, json: bool) -> None:
    if json:
        print_json(endpoint)
        return
    pairs(
        [
            ("id", endpoint.id),
            ("name", endpoint.name),
            ("network", endpoint.network),
            ("mac", endpoint.mac),
            ("addresses", endpoint.addresses),
            ("state", endpoint.state),
            ("sandbox", endpoint.sandbox),
            ("interface", endpoint.ifname),
            ("published", endpoint.published),
            ("services", endpoint.services),
        ]
    )
