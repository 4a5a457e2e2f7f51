"""The command line as a user has it: a process, its output, its exit status."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.hosts import NETNS
from tests.helpers.served import ServedHost, serve
from vxnet.endpoints import EndpointRequest
from vxnet.networks import NetworkRequest


@dataclass(frozen=True)
class Done:
    """What a command left."""

    status: int
    out: str
    err: str


async def run(*arguments: str, socket: Path | None = None) -> Done:
    """Run a command; a traceback is never an answer."""
    environment = {**os.environ, "VXNET_SOCKET": str(socket)} if socket else dict(os.environ)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vxnet",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[ServedHost]:
    async with serve(tmp_path / "sock") as served:
        yield served


@pytest.mark.parametrize(
    "command",
    [
        "demo", "daemon", "status", "peers", "fdb", "stats", "attach", "detach",
        "network", "network create", "network ls", "network inspect", "network rm",
        "endpoint", "endpoint create", "endpoint join", "endpoint leave", "endpoint ls",
        "endpoint inspect", "endpoint rm",
    ],
)  # fmt: skip
async def test_every_command_explains_itself(command: str) -> None:
    done = await run(*command.split(), "--help")
    assert done.status == 0
    assert done.out.startswith("Usage: vxnet")


async def test_version_is_told() -> None:
    done = await run("--version")
    assert (done.status, done.out.split()[0]) == (0, "vxnet")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("network", "create"),
        ("attach", "blue"),
        ("attach", "blue", "--netns", "a", "--pid", "1"),
        ("network", "create", "blue", "--opt", "novalue"),
        ("network", "create", "blue", "--vni", "many"),
        ("demo", "--datapath", "warp"),
        ("demo", "--hosts", "1"),
    ],
)
async def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = await run(*arguments)
    assert done.status == 2
    assert "Usage: vxnet" in done.err


async def test_no_daemon_ends_with_1_and_one_sentence(tmp_path: Path) -> None:
    done = await run("status", socket=tmp_path / "none")
    assert done.status == 1
    assert done.err.startswith("vxnet: no daemon answers on")
    assert done.err.count("\n") == 1
    assert done.out == ""


async def test_a_refusal_ends_with_1_and_the_daemons_sentence(host: ServedHost) -> None:
    done = await run("network", "rm", "none", socket=host.socket)
    assert done == Done(1, "", "vxnet: there is no network none; see: vxnet network ls\n")


async def test_a_wrong_configuration_ends_with_1_and_all_problems(tmp_path: Path) -> None:
    file = tmp_path / "vxnet.toml"
    file.write_text('[node]\nvtep = "x"\n')
    done = await run("daemon", "-c", str(file))
    assert done.status == 1
    assert len(done.err.splitlines()) == 2
    assert "node.name: missing" in done.err


async def test_settings_can_be_checked_without_starting(tmp_path: Path) -> None:
    file = tmp_path / "vxnet.toml"
    file.write_text('[node]\nname = "a"\nvtep = "192.0.2.1"\n')
    assert await run("daemon", "-c", str(file), "--check") == Done(0, f"{file} is right\n", "")


async def test_a_network_and_an_endpoint_through_their_lives(host: ServedHost) -> None:
    created = await run(
        "network", "create", "blue", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1",
        "--vni", "7", "--mtu", "1400", "--opt", "vlan=transparent",
        socket=host.socket,
    )  # fmt: skip
    assert created == Done(0, "blue  VNI 7  10.9.0.0/24 via 10.9.0.1  MTU 1400\n", "")
    listed = await run("network", "ls", socket=host.socket)
    assert "blue  overlay  7" in listed.out
    inspected = await run("network", "inspect", "blue", socket=host.socket)
    assert "vlan transparent" in inspected.out
    attached = await run(
        "attach", "blue", "--netns", "web", "--name", "web", "--ip", "10.9.0.7",
        "--mac", "02:00:00:00:00:07", "--ifname", "net0",
        socket=host.socket,
    )  # fmt: skip
    assert attached.status == 0
    assert "10.9.0.7/24" in attached.out
    assert host.host.sandboxes[NETNS.path]["net0"].mac.hex(":") == "02:00:00:00:00:07"
    assert "netns web" in (await run("endpoint", "ls", socket=host.socket)).out
    assert "joined" in (await run("endpoint", "inspect", "web", socket=host.socket)).out
    assert "here, web" in (await run("fdb", "-n", "blue", socket=host.socket)).out
    verified = await run("fdb", "--verify", socket=host.socket)
    assert verified == Done(0, "the table is what gossip and local ports say\n", "")
    assert (await run("endpoint", "leave", "web", socket=host.socket)).status == 0
    joined = await run("endpoint", "join", "web", "--netns", "web", socket=host.socket)
    assert joined.status == 0
    assert (await run("detach", "web", socket=host.socket)).status == 0
    assert await run("network", "rm", "blue", socket=host.socket) == Done(0, "blue\n", "")


async def test_verify_ends_with_1_where_the_table_is_wrong(host: ServedHost) -> None:
    await host.networks.create(NetworkRequest("blue"))
    endpoint = await host.endpoints.attach(EndpointRequest("blue", "web"), NETNS)
    host.datapath.ports.clear()
    done = await run("fdb", "--verify", socket=host.socket)
    assert done.status == 1
    assert endpoint.mac.hex(":") in done.err


@pytest.mark.parametrize(
    "command",
    [
        "status", "peers", "fdb", "stats", "network ls", "network inspect blue", "endpoint ls",
        "endpoint inspect web", "fdb --verify",
    ],
)  # fmt: skip
async def test_every_listing_is_one_json_document_on_request(
    host: ServedHost, command: str
) -> None:
    await host.networks.create(NetworkRequest("blue"))
    await host.endpoints.attach(EndpointRequest("blue", "web"), NETNS)
    plain = await run(*command.split(), socket=host.socket)
    done = await run(*command.split(), "--json", socket=host.socket)
    assert (done.status, done.err, plain.status) == (0, "", 0)
    assert json.loads(done.out) != plain.out


@pytest.mark.parametrize("command", ["network ls", "endpoint ls", "fdb"])
async def test_an_empty_listing_says_so(host: ServedHost, command: str) -> None:
    done = await run(*command.split(), socket=host.socket)
    assert done.status == 0
    assert len(done.out.splitlines()) == 1
    assert await run(*command.split(), "--json", socket=host.socket) == Done(0, "[]\n", "")


async def test_a_reader_that_has_enough_is_no_error(host: ServedHost) -> None:
    for number in range(60):
        await host.networks.create(NetworkRequest(f"n{number}"))
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m vxnet network ls --json --socket {host.socket} | head -1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (out, err) == (b"[\n", b"")


async def test_commands_do_not_load_what_only_the_daemon_needs() -> None:
    heavy = ("aiohttp", "uvloop", "pyroute2", "numpy", "scapy", "rich", "cryptography", "asyncio")
    code = f"import sys, vxnet.cli.app; print([m for m in {heavy!r} if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == "[]"


async def test_the_daemon_does_not_load_what_only_people_and_tests_need() -> None:
    code = (
        "import sys, vxnet.daemon.run; "
        "print([m for m in ('scapy', 'matplotlib', 'rich', 'structlog') if m in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == "[]"
