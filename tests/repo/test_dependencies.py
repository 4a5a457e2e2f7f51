"""What the code imports is what pyproject.toml asks for, no less and no more."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, modules, parsed

OURS = {"benchmarks", "docs", "tests", "vxnet"}
IMPORTED_AS = {
    "asyncio-dgram": "asyncio_dgram",
    "dnspython": "dns",
    "prometheus-client": "prometheus_client",
    "pytest-asyncio": "pytest_asyncio",
    "pytest-timeout": "pytest_timeout",
}
ONLY_RUN = {
    "coverage",
    "import-linter",
    "mypy",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
}

project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def asked_for(*extras: str) -> set[str]:
    """The distributions that an installation with these extras brings."""
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


def imported(paths: Iterable[Path]) -> set[str]:
    """The packages of others that these modules import, wherever in the module they do."""
    names: set[str] = set()
    for path in paths:
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Import():
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                case ast.ImportFrom(level=0, module=str(module)):
                    names.add(module.partition(".")[0])
    return names - OURS - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (
            ["vxnet"],
            ["bench"],
        ),  # `vxnet sim --plot` draws where matplotlib is, and says so where not
        (["benchmarks"], ["bench"]),
        (["tests", "docs"], ["test", "bench"]),
    ],
)
def test_nothing_is_imported_that_was_not_asked_for(folders: list[str], extras: list[str]) -> None:
    there = {IMPORTED_AS.get(name, name) for name in asked_for(*extras)}
    assert imported(modules(*folders)) <= there


def test_nothing_is_asked_for_that_is_not_used() -> None:
    everywhere = imported(modules(*OURS))
    asked = asked_for(*project["optional-dependencies"]) - ONLY_RUN
    assert {IMPORTED_AS.get(name, name) for name in asked} <= everywhere
