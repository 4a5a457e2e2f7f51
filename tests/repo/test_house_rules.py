"""The rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, modules, parsed, tracked

LONGEST_MODULE_LINES = 450
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|NotImpl" r"ementedError)\b")
SOMEBODYS_MACHINE = re.compile(r"(?<![\w.])/(home/\w+|Users/\w+|root|work|tmp/\w{1,3})/\w")
SKIPS = {"skip", "skipif", "importorskip", "SkipTest"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules("vxnet", "tests", "benchmarks"), ids=name_of)
def test_a_module_is_short_enough_to_be_one_noun(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST_MODULE_LINES


@pytest.mark.parametrize("path", modules("vxnet"), ids=name_of)
def test_a_module_says_in_a_sentence_what_it_is_and_then_what_is_public(path: Path) -> None:
    module = parsed(path)
    sentence = (ast.get_docstring(module) or "").partition("\n\n")[0]
    assert sentence.endswith((".", ":"))
    assigned = {
        target.id
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    is_only_run_or_read = path.stem == "__main__" or len(module.body) == 1
    assert "__all__" in assigned or is_only_run_or_read


@pytest.mark.parametrize("path", modules("tests"), ids=name_of)
def test_no_test_is_skipped_or_expected_to_fail(path: Path) -> None:
    used = {node.attr for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)} & (
        SKIPS | {"xfail"}
    )
    assert not used


def test_nothing_is_left_unfinished_or_names_a_path_of_somebodys_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if UNFINISHED.search(line) or SOMEBODYS_MACHINE.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)
