"""The command line's root: which commands there are. What they need is imported when they run."""

from typing import Annotated

import typer

import vxnet
from vxnet.cli import endpoint, ipam, keys, network, sandbox, service, show
from vxnet.cli.capture import capture
from vxnet.cli.daemon import daemon
from vxnet.cli.demo import demo
from vxnet.cli.dns import dns
from vxnet.cli.doctor import doctor
from vxnet.cli.history import history
from vxnet.cli.sim import sim
from vxnet.cli.top import top
from vxnet.cli.trace import trace

__all__ = ["app"]

app = typer.Typer(
    help="One Ethernet for the containers, virtual machines and namespaces of several hosts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(demo)
app.command()(daemon)
app.command()(show.status)
app.command()(show.peers)
app.command()(show.fdb)
app.command()(show.stats)
app.command()(dns)
app.command()(top)
app.command()(history)
app.command()(capture)
app.command()(doctor)
app.command()(trace)
app.command()(sim)
app.add_typer(network.app, name="network")
app.add_typer(endpoint.app, name="endpoint")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(service.app, name="service")
app.add_typer(ipam.app, name="ipam")
app.add_typer(keys.app, name="keys")
app.command("exec", context_settings={"ignore_unknown_options": True})(sandbox.execute)
app.command()(endpoint.attach)
app.command()(endpoint.detach)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vxnet {vxnet.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """One Ethernet for the containers, virtual machines and namespaces of several hosts.

    Try it on this machine:  sudo vxnet demo
    """
