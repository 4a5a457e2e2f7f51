"""`vxnet daemon`: the daemon in the foreground."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["daemon"]


def daemon(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The settings, a TOML file.")
    ] = Path("/etc/vxnet/vxnet.toml"),
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the settings are right.")
    ] = False,
) -> None:
    """Run this host's daemon in the foreground, as systemd does.

    SIGHUP reads the settings again, SIGTERM and Ctrl-C end it.

    Example:  vxnet daemon -c /etc/vxnet/vxnet.toml
    """
    from vxnet.config import load

    settings = load(config)
    if check:
        typer.echo(f"{config} is right")
        return
    from vxnet.daemon.run import run

    run(config, settings)
