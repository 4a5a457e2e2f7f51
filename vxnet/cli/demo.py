"""`vxnet demo`: several hosts on this machine, end to end."""

from typing import Annotated

import typer

from vxnet.cli.options import Json

__all__ = ["demo"]


def demo(
    hosts: Annotated[int, typer.Option("--hosts", min=2, help="How many hosts.")] = 3,
    datapath: Annotated[
        str, typer.Option("--datapath", help="pure, native, or auto for the best there is.")
    ] = "auto",
    drivers: Annotated[
        bool,
        typer.Option("--drivers", help="Show each network driver instead, and compare them."),
    ] = False,
    services: Annotated[
        bool,
        typer.Option("--services", help="Show a service instead, while members and a host die."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running; prints how to enter and remove it.")
    ] = False,
    remove: Annotated[
        str | None,
        typer.Option("--remove", metavar="PREFIX", help="Remove what was kept or left behind."),
    ] = None,
    json: Json = False,
) -> None:
    """Show vxnet on this machine, every claim checked.

    Each host is a namespace with a daemon of its own. Needs root. What it makes is removed at the
    end, and nothing outside of it is touched. The exit status is 0 only if every check held.

    Example:  sudo vxnet demo --hosts 5
    """
    from vxnet.demo.command import demo as run_demo
    from vxnet.demo.command import remove_demo
    from vxnet.demo.run import Options

    if datapath not in ("auto", "pure", "native"):
        raise typer.BadParameter(f"{datapath!r} is not auto, pure or native", param_hint="datapath")
    if remove is not None:
        raise typer.Exit(remove_demo(remove))
    options = Options(hosts=hosts, datapath=datapath, keep=keep, drivers=drivers, services=services)
    raise typer.Exit(run_demo(options, as_json=json))
