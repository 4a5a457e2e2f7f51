"""The README's walk by hand, as it stands there, in namespaces where its names harm nobody."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRIVATE = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--propagation=private",
]
PRELUDE = """
set -eu
mount -t proc proc /proc
mount -t tmpfs run /run
until_ok() {
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    "$@"
}
sees_both() { vxnet peers --json | grep -c '"alive"' | grep -qx 2; }
knows_blue() { vxnet network inspect blue; }
"""

pytestmark = pytest.mark.netns


def steps() -> list[str]:
    """The shell blocks of the walk: hosts, daemons, alpha, beta, and away with it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Two hosts by hand\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def test_the_walk_by_hand_in_the_readme_ends_with_a_ping_and_nothing_left(tmp_path: Path) -> None:
    hosts, daemons, alpha, beta, away = steps()
    # A person reads between two blocks; the test waits for what the person would see.
    waited = """
        export VXNET_SOCKET=$DIR/alpha.sock
        until_ok sees_both
    """
    script = [PRELUDE, hosts, daemons, waited, alpha]
    script += ["VXNET_SOCKET=$DIR/beta.sock until_ok knows_blue", beta, away]
    script += ["wait", "ls -d $DIR /run/netns/* || echo all gone"]
    done = subprocess.run(
        [*PRIVATE, "bash", "-c", "\n".join(script)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    seen = done.stdout + done.stderr
    assert done.returncode == 0, seen
    assert "3 packets transmitted, 3 received" in seen
    assert re.search(r"10\.9\.0\.10 +192\.0\.2\.1:4789 alpha +control", seen), "beta's table"
    assert done.stdout.endswith("all gone\n")
