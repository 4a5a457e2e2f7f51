"""What `vxnet demo` does: run, show, and say by the exit status whether everything held."""

import sys

from rich.console import Console

from vxnet.demo.bed import in_use
from vxnet.demo.leftovers import prefixes, remove
from vxnet.demo.run import Options, run_demo
from vxnet.demo.show import Live, Silent, kept, summary
from vxnet.errors import StateError

__all__ = ["demo", "remove_demo"]


def demo(options: Options, *, as_json: bool = False) -> int:
    """Run a demo and show it; 0 where every check held, else 1. Raises VxnetError."""
    if as_json:
        report = run_demo(options, Silent())
        sys.stdout.write(report.to_json() + "\n")
        return 0 if report.ok else 1
    console = Console()
    for prefix in prefixes():
        if in_use(prefix):
            console.print(f"another demo runs on this machine: {prefix}", style="yellow")
        else:
            console.print(
                f"another demo was left on this machine: {prefix} (vxnet demo --remove {prefix})",
                style="yellow",
            )
    with Live(console) as live:
        report = run_demo(options, live)
    console.print(summary(report))
    if options.keep:
        console.print(kept(report))
    return 0 if report.ok else 1


def remove_demo(prefix: str) -> int:
    """Remove what a demo left or kept; 1 where there was nothing. Raises VxnetError.

    One that still runs is not touched: it may be somebody else's.
    """
    if in_use(prefix):
        raise StateError(f"demo {prefix} still runs; end it with Ctrl-C, and it removes itself")
    found = remove(prefix)
    for line in found:
        sys.stdout.write(f"removed: {line}\n")
    if not found:
        sys.stderr.write(f"there is nothing of {prefix} on this machine\n")
    return 0 if found else 1
