"""The rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

from tests.repo.tree import ROOT, modules, parsed, tracked

LONGEST_MODULE_LINES = 450
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|NotImpl" r"ementedError)\b")
SOMEBODYS_MACHINE = re.compile(r"(?<![\w.])/(home/\w+|Users/\w+|root|work|tmp/\w{1,3})/\w")
LEFT_OUT = {"SkipTest", "importorskip", "skip", "skipif", "xfail"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_is_short_enough_to_be_one_noun() -> None:
    lengths = {
        name_of(path): path.read_text(encoding="utf-8").count("\n")
        for path in modules("vxnet", "tests", "benchmarks", "docs")
    }
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE_LINES}


def test_every_module_says_in_a_sentence_what_it_is() -> None:
    sentences = {
        name_of(path): (ast.get_docstring(parsed(path)) or "").partition("\n\n")[0]
        for path in modules("vxnet", "benchmarks", "docs")
    }
    assert not [name for name, sentence in sentences.items() if not sentence.endswith((".", ":"))]


def test_every_module_says_what_is_public() -> None:
    silent = []
    for path in modules("vxnet"):
        module = parsed(path)
        assigned = {
            target.id
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        is_only_run_or_read = path.stem == "__main__" or len(module.body) == 1
        if "__all__" not in assigned and not is_only_run_or_read:
            silent.append(name_of(path))
    assert not silent


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    left_out = [
        f"{name_of(path)}:{node.lineno}: {node.attr}"
        for path in modules("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in LEFT_OUT
    ]
    assert not left_out


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
