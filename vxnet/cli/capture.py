"""`vxnet capture`: frames as they pass, with what became of them, on the screen or as pcapng."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

import vxnet
from vxnet.api.seen import SightView
from vxnet.cli.merge import Merge
from vxnet.cli.options import DEFAULT_SOCKET, NetworkFilter, connect
from vxnet.cli.output import line
from vxnet.errors import HostError
from vxnet.wire import pcapng
from vxnet.wire.pcapng import Direction

__all__ = ["capture", "comment_on"]

_SNAP_MAX = 65_550
_HEADER_BYTES = 14


def capture(
    network: NetworkFilter = None,
    write: Annotated[
        str | None,
        typer.Option("--write", "-w", metavar="FILE", help="As pcapng; - for standard output."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-c", min=1, help="End after so many frames.")
    ] = None,
    snap: Annotated[
        int, typer.Option("--snap", min=1, max=_SNAP_MAX, help="Octets of each frame to keep.")
    ] = _SNAP_MAX,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Only frames that went nowhere.")
    ] = False,
    sockets: Annotated[
        list[str] | None,
        typer.Option(
            "--socket",
            envvar="VXNET_SOCKET",
            help="A daemon's socket; several daemons' frames are merged by time.",
            show_default=DEFAULT_SOCKET,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON document a frame.")] = False,
) -> None:
    """Show frames as they pass, or write them for Wireshark.

    From whom, to whom, or why a frame went nowhere. Ends with Ctrl-C. Each frame is shown once on
    each host, with what became of it there. Frames that come faster than they are taken are
    missed and counted, never waited for.

    Examples:

      vxnet capture --network blue --write - | wireshark -k -i -

      vxnet capture --dropped --socket /run/vxnet/vxnet.sock --socket host-b.sock
    """
    if json and write is not None:
        raise typer.BadParameter("it prints, --write writes; choose one", param_hint="--json")
    clients = [connect(path) for path in sockets or [DEFAULT_SOCKET]]
    shown = missed = 0
    try:
        with _sink(write, snap, json=json) as show:
            sources = [client.capture for client in clients]
            for view in Merge(sources, network, snap, _tell_begun):
                missed += view.missed
                if dropped and view.verb != "dropped":
                    continue
                show(view)
                shown += 1
                if shown == count:
                    break
    except KeyboardInterrupt:
        pass
    typer.echo(f"{shown} frames shown, {missed} missed", err=True)


def _tell_begun() -> None:
    typer.echo("capturing; Ctrl-C ends it", err=True)


def comment_on(view: SightView) -> str:
    """All that is known of a frame beyond its octets, as Wireshark shows it."""
    parts = [
        f"host {view.host}",
        f"network {view.network or '(unknown)'}",
        f"VNI {view.vni}",
        f"direction {'out' if view.outbound else 'in'}",
        f"from {'endpoint' if view.outbound else 'peer'} {view.source}",
    ]
    if view.target:
        parts.append(f"to {'peer' if view.verb == 'sent' else 'endpoint'} {view.target}")
    if view.vtep:
        parts.append(f"VTEP {view.vtep}")
    parts.append(f"{view.verb}{f': {view.reason}' if view.reason else ''}")
    if view.verb == "flooded":
        parts.append(f"to {view.ports} endpoints and {view.vteps} hosts")
    if view.frames > 1:
        parts.append(f"stands for {view.frames} frames")
    return ", ".join(parts)


@contextmanager
def _sink(write: str | None, snap: int, *, json: bool) -> Iterator[Callable[[SightView], None]]:
    if write is None:
        yield _print_json if json else _Listing().show
        return
    if write == "-":
        if sys.stdout.isatty():
            raise HostError("pcapng is not for a terminal; pipe it: | wireshark -k -i -")
        yield _File(sys.stdout.buffer, snap).show
        return
    try:
        with Path(write).open("wb") as file:
            yield _File(file, snap).show
    except OSError as error:
        raise HostError(f"{write} cannot be written: {error.strerror}") from None


class _File:
    """Writes pcapng: an interface for each host."""

    def __init__(self, file: BinaryIO, snap: int) -> None:
        self._file = file
        self._snap = snap
        self._interfaces: dict[str, int] = {}
        self._put(pcapng.section(f"vxnet {vxnet.__version__}"))

    def show(self, view: SightView) -> None:
        """One frame."""
        number = self._interfaces.get(view.host)
        if number is None:
            number = self._interfaces[view.host] = len(self._interfaces)
            self._put(pcapng.interface(view.host, f"vxnet on {view.host}", self._snap))
        self._put(
            pcapng.packet(
                number,
                view.at_ns,
                view.octets,
                view.length,
                comment=comment_on(view),
                direction=Direction.OUTBOUND if view.outbound else Direction.INBOUND,
                missed=view.missed,
            )
        )

    def _put(self, octets: bytes) -> None:
        # At once: whoever reads a pipe wants to see frames when they pass.
        self._file.write(octets)
        self._file.flush()


class _Listing:
    """Writes a line a frame, as tcpdump does."""

    def __init__(self) -> None:
        # scapy takes most of a second to import: before frames are waited for.
        from scapy.layers import inet, inet6, l2  # noqa: F401

        self._ether = l2.Ether

    def show(self, view: SightView) -> None:
        """One frame."""
        at = datetime.fromtimestamp(view.at_ns / 1e9).astimezone()
        way = "out" if view.outbound else "in "
        network = view.network or f"VNI {view.vni}"
        many = f" x{view.frames}" if view.frames > 1 else ""
        line(
            f"{at:%H:%M:%S.%f} {view.host} {network} {way} {view.source} > {_fate(view)}"
            f"  {self._inside(view)}, {view.length} octets{many}"
        )

    def _inside(self, view: SightView) -> str:
        if len(view.octets) < _HEADER_BYTES:
            return f"[{view.octets.hex()}]"
        text: str = self._ether(view.octets).summary()
        return text.removeprefix("Ether / ")


def _fate(view: SightView) -> str:
    match view.verb:
        case "dropped":
            return f"DROPPED {view.reason}"
        case "flooded":
            return f"all ({view.ports} here, {view.vteps} hosts)"
        case "replied":
            return f"{view.source} (answered here)"
        case _:
            return view.target


def _print_json(view: SightView) -> None:
    line(msgspec.json.encode(view).decode())
