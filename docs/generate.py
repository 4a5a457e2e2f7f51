"""Writes docs/reference/ and conformance.md; the tests fail while they are not what this writes.

usage: .venv/bin/python docs/generate.py
"""

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where `docs` is

from docs import conformance
from vxnet import config
from vxnet.api.metrics import METRICS
from vxnet.cli.app import app
from vxnet.switch.actions import DropReason

__all__ = ["command_line", "configuration", "main", "metrics", "pages"]

MADE = "<!-- Made by docs/generate.py from the code; edit there. -->\n"


def configuration() -> str:
    """Every setting: its default, what it must be, and what it is for."""
    parts = [
        "# Configuration\n",
        MADE,
        "One TOML file, `vxnet daemon -c FILE`. Only `node.name` and `node.vtep` have no default, "
        "and `gossip.seeds` is needed on every host but the first. The daemon names everything "
        "that is wrong with a file at once. SIGHUP applies changes to "
        + ", ".join(f"`{key}`" for key in sorted(config.RELOADABLE))
        + "; anything else waits for a restart.\n",
        *_tables(config.Settings, ""),
    ]
    return "\n".join(parts)


def _tables(struct: type[msgspec.Struct], path: str, *, is_list: bool = False) -> list[str]:
    """A section for the struct's own keys, then one for each table in it."""
    hints = get_type_hints(struct, include_extras=True)
    meanings = _attribute_docstrings(struct)
    rows, tables = [], []
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        where = f"{path}.{field.name}" if path else field.name
        if (table := _struct_in(hint)) is not None:
            tables += _tables(table, where, is_list=table is not hint)
            continue
        default = "" if field.required else f"`{_toml(field.default)}`"
        if field.default is None:
            default = ""
        rows.append(f"| `{field.name}` | {default} | {_must_be(hint)} | {meanings[field.name]} |")
    if not rows:
        return tables
    brackets = f"[[{path}]]" if is_list else f"[{path}]"
    head = ["| key | default | must be | what it is |", "|---|---|---|---|"]
    section = f"## `{brackets}`\n\n{inspect.getdoc(struct)}\n\n" + "\n".join([*head, *rows]) + "\n"
    return [section, *tables]


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    """The struct that a hint is, or is a list of."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return next(filter(None, map(_struct_in, get_args(hint))), None)


def _must_be(hint: Any) -> str:
    metas = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    if metas:
        return " ".join(meta.description or "" for meta in metas)
    return " or ".join(filter(None, map(_must_be, get_args(hint))))


def _attribute_docstrings(struct: type) -> dict[str, str]:
    """The string below each attribute, which Python itself forgets."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                value=ast.Constant(value=str(text))
            ):
                found[name] = " ".join(text.split())
    return found


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def command_line() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(app)
    parts = [
        "# Command line\n",
        MADE,
        "Exit status: 0 done, 1 refused (one sentence on standard error), 2 wrong usage. `--json` "
        "prints one JSON document. `--socket PATH`, or `VXNET_SOCKET`, chooses the daemon.\n",
        *_commands(root, "vxnet"),
    ]
    return "\n".join(parts)


def metrics() -> str:
    """Every metric, and every reason in them."""
    parts = [
        "# Metrics\n",
        MADE,
        "`[metrics] listen` in the configuration has the daemon answer `GET /metrics` in "
        "Prometheus's formats. Octets are of inner frames; a super-frame counts as the frames it "
        "stands for. `place` is where frames entered or left: an `endpoint`, the tunnels of a "
        "`network`, or a `peer`, whose frames are those of networks once more. At each place, what "
        "was received is what was carried and dropped. Besides these there are "
        "`process_cpu_seconds_total`, `process_resident_memory_bytes` and the others that every "
        "client of Prometheus has. A dashboard for Grafana is in `deploy/grafana/vxnet.json`.\n",
        "| metric | kind | labels | what it says |\n|---|---|---|---|",
    ]
    rows = [
        f"| `{name}{'_total' if metric.is_counter else ''}` "
        f"| {'counter' if metric.is_counter else 'gauge'} "
        f"| {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning} |"
        for name, metric in METRICS.items()
    ]
    reasons = ", ".join(f"`{reason}`" for reason in DropReason)
    return "\n".join([*parts, *rows, "", f"Reasons of drops: {reasons}.", ""])


def _commands(command: TyperCommand | TyperGroup, path: str) -> list[str]:
    if isinstance(command, TyperGroup):
        return [
            part
            for name, sub in sorted(command.commands.items())
            if not sub.hidden
            for part in _commands(sub, f"{path} {name}")
        ]
    usage, rows = [path], []
    for parameter in command.params:
        match parameter:
            case TyperOption(hidden=False):
                names = ", ".join(
                    f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts)
                )
            case TyperArgument(hidden=False):
                names = f"`{parameter.metavar}`"
                usage.append(parameter.metavar or "")
            case _:
                continue
        rows.append(f"| {names} | {_one_line(parameter.help)} |")
    lines = [
        f"## `{path}`\n",
        f"```\n{' '.join([*usage, '[OPTION]...'])}\n```\n",
        f"{_prose(command.help or '')}\n",
    ]
    if rows:
        lines.append("\n".join(["| | |", "|---|---|", *rows]) + "\n")
    return lines


def _prose(text: str) -> str:
    """A command's help, its examples as shell blocks."""
    lines = inspect.cleandoc(text).splitlines()
    shown = [re.sub(r"^(Examples?:)?  +(.*)$", r"```sh\n\2\n```", line) for line in lines]
    return "\n".join(line for line in shown if line != "Examples:").replace("\n\n\n", "\n\n")


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def pages() -> dict[Path, str]:
    """What each generated file holds."""
    folder = Path(__file__).parent / "reference"
    return {
        folder / "configuration.md": configuration(),
        folder / "command-line.md": command_line(),
        folder.parent / "conformance.md": conformance.page(),
        folder / "metrics.md": metrics(),
    }


def main() -> None:
    """Write every page."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
