"""The documentation: its links lead somewhere, its commands exist, its reference is current."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from docs.generate import pages
from tests.repo.tree import ROOT, modules, tracked
from vxnet.cli.app import app

LINK = re.compile(r"(?<!\\)\]\(<?([^)\s>]+)>?\)")
SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """What the headings of a document are called in links to them."""
    headings = re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_within_the_repository_leads_somewhere(path: Path) -> None:
    lost = []
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def commands(path: Path) -> Iterator[list[str]]:
    """The words of each command in a document's shell blocks, from the one that names it."""
    for block in SHELL_BLOCK.findall(path.read_text(encoding="utf-8")):
        plain = re.sub(r"\$\([^)]*\)", "SUBSTITUTED", block.replace("\\\n", " "))
        for line in plain.splitlines():
            for command in re.split(r"&&|\|\||[|;&]", line.partition(" #")[0]):
                words = shlex.split(command, comments=True)
                if words[:1] == ["docker"]:
                    continue  # to whom vxnet is the name of a driver
                for position, word in enumerate(words):
                    if word == "vxnet" or word.endswith("/vxnet") or "scripts/" in word:
                        yield words[position:]
                        break


def problem_with(words: list[str]) -> str | None:
    """What would be wrong with a command of a document, if anybody typed it."""
    if "scripts/" in words[0]:
        return None if (ROOT / words[0]).is_file() else "no such script"
    command = typer.main.get_command(app)
    rest = words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if hasattr(command, "commands") and not (rest and rest[0].startswith("-")):
        return "no such command"
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    ours = rest[: rest.index("--")] if "--" in rest else rest
    options = [word.partition("=")[0] for word in ours if word.startswith("-") and word != "-"]
    unknown = set(options) - known
    return f"no such option: {unknown}" if unknown else None


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_that_a_document_shows_exists(path: Path) -> None:
    problems = [(shlex.join(words), problem_with(words)) for words in commands(path)]
    assert not [problem for problem in problems if problem[1]]


def test_decisions_have_numbers_of_their_own_which_their_headings_repeat() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = [int(path.name.partition("-")[0]) for path in decisions]
    assert len(set(numbers)) == len(numbers)
    headings = [path.read_text(encoding="utf-8").partition(".")[0] for path in decisions]
    assert headings == [f"# {number}" for number in numbers]


def test_the_readme_shows_the_commands_that_a_newcomer_needs() -> None:
    shown = {words[0] for words in commands(ROOT / "README.md")}
    assert {"scripts/demo", "scripts/test", "vxnet"} <= shown


def test_the_readme_s_map_has_every_part_of_the_package() -> None:
    parts = {path.relative_to(ROOT / "vxnet").parts[0] for path in modules("vxnet")}
    map_of_package = (ROOT / "README.md").read_text(encoding="utf-8").partition("\nvxnet/\n")[2]
    shown = {name.rstrip("/") for name in re.findall(r"\w+\.py|\w+/", map_of_package)}
    assert {part for part in parts if not part.startswith("_")} <= shown


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_the_reference_says_what_the_code_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run docs/generate.py"
