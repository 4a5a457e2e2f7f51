"""The help: what a person sees before anything else."""

import pytest
from typer.testing import CliRunner

from vxnet.cli.app import app


@pytest.mark.parametrize("group", [[], ["network"], ["endpoint"], ["sandbox"], ["keys"]])
def test_what_a_command_does_fits_its_line_of_the_list(group: list[str]) -> None:
    shown = CliRunner().invoke(app, [*group, "--help"], terminal_width=78).output
    commands = shown.partition("Commands:\n")[2].splitlines()
    assert commands
    assert not [line for line in commands if line.endswith("...")]
