"""`vxnet history`: who said what about a station or a host, and when it was applied here."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import print_json, table

__all__ = ["history"]


class About(StrEnum):
    """What a history can be asked of."""

    MAC = "mac"
    IP = "ip"
    PEER = "peer"


def history(
    about: Annotated[About, typer.Argument(help="What the value is.", show_default=False)],
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="A MAC, an IP or a host.", show_default=False)
    ],
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """What became of a station or a host.

    APPLIED is this host's clock, ANNOUNCED the announcing host's. The daemon keeps the last
    65,536 changes since its start.

    Example:  vxnet history ip 10.9.0.7
    """
    answer = connect(socket).history(about, value)
    if json:
        print_json(answer)
        return
    table(
        (
            "APPLIED",
            "WHAT",
            "HOST",
            "NETWORK",
            "MAC",
            "ADDRESSES",
            "ANNOUNCED",
            "VERSION",
            "SEQUENCE",
        ),
        (
            (
                _when(line.applied_ms),
                line.what,
                line.host,
                line.network,
                line.mac,
                line.ips,
                None if line.announced_ms is None else _when(line.announced_ms),
                line.version,
                line.sequence,
            )
            for line in answer
        ),
        f"nothing was told of {about} {value} since the daemon started",
    )


def _when(unix_ms: int) -> str:
    moment = datetime.fromtimestamp(unix_ms / 1000, tz=UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
