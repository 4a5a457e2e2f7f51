"""The API on a real Unix socket, asked with the client that the command line uses."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.hosts import NETNS, ImaginedHost, vtep_of
from tests.helpers.served import ServedHost, serve
from vxnet.api.client import Client
from vxnet.api.model import AttachBody, EndpointBody, JoinBody, NetworkBody, VerifyView
from vxnet.control.memory import MemoryCluster
from vxnet.datapath.base import Counters, Stats
from vxnet.endpoints import EndpointRequest
from vxnet.errors import HostError, StateError
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire.addr import Vni

BLUE = NetworkBody("blue", subnets=("10.9.0.0/24",), gateways=("10.9.0.1",))
WEB = AttachBody(EndpointBody("blue", name="web"), JoinBody("netns", "web"))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[ServedHost]:
    async with serve(tmp_path / "run" / "sock") as served:
        yield served


async def test_a_network_goes_through_its_life(host: ServedHost) -> None:
    made = await host.ask(lambda daemon: daemon.create_network(BLUE))
    assert made.name == "blue"
    assert made.subnets[0].prefix == "10.9.0.0/24"
    assert made.subnets[0].gateway == "10.9.0.1"
    assert await host.ask(lambda daemon: daemon.networks()) == [made]
    assert await host.ask(lambda daemon: daemon.network("blue")) == made
    assert await host.ask(lambda daemon: daemon.remove_network("blue")) == made
    assert await host.ask(lambda daemon: daemon.networks()) == []


async def test_an_endpoint_goes_through_its_life(host: ServedHost) -> None:
    await host.ask(lambda daemon: daemon.create_network(BLUE))
    made = await host.ask(
        lambda daemon: daemon.create_endpoint(
            EndpointBody("blue", "web", ("10.9.0.7",), "02:00:00:00:00:07")
        )
    )
    assert (made.state, made.sandbox, made.addresses) == ("created", None, ("10.9.0.7/24",))
    joined = await host.ask(lambda daemon: daemon.join("web", JoinBody("netns", "web", "net0")))
    assert (joined.state, joined.sandbox, joined.ifname) == ("joined", "netns web", "net0")
    assert (await host.ask(lambda daemon: daemon.leave("web"))).state == "created"
    assert [e.name for e in await host.ask(lambda daemon: daemon.endpoints("blue"))] == ["web"]
    assert (await host.ask(lambda daemon: daemon.remove_endpoint("web"))).mac == made.mac
    assert await host.ask(lambda daemon: daemon.endpoints()) == []


async def test_the_table_names_networks_hosts_and_endpoints(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    async with serve(tmp_path / "sock", cluster) as host:
        await host.ask(lambda daemon: daemon.create_network(BLUE))
        other = await ImaginedHost(cluster, "b").start()
        await other.settle()
        there = await other.endpoints.attach(EndpointRequest("blue", "db"), NETNS)
        await host.ask(lambda daemon: daemon.attach(WEB))
        rows = await host.ask(lambda daemon: daemon.fdb("blue"))
        assert {row.network for row in rows} == {"blue"}
        assert [(row.host, row.endpoint) for row in rows if row.source == "local"] == [
            (None, "resolver of blue"),
            (None, "web"),
        ]
        (remote,) = [row for row in rows if row.source == "control"]
        assert (remote.host, remote.vtep) == ("b", str(vtep_of(2)))
        assert remote.mac == there.mac.hex(":")
        network = await host.ask(lambda daemon: daemon.network("blue"))
        assert (network.endpoints, network.hosts) == (("web",), ("b",))


async def test_verify_says_how_the_table_differs_from_gossip(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    async with serve(tmp_path / "sock", cluster) as host:
        await host.ask(lambda daemon: daemon.create_network(BLUE))
        await host.ask(lambda daemon: daemon.attach(WEB))
        other = await ImaginedHost(cluster, "b").start()
        await other.settle()
        there = await other.endpoints.attach(EndpointRequest("blue", "db"), NETNS)
        assert (await host.ask(lambda daemon: daemon.verify())).ok
        host.datapath.entries.clear()
        answer = await host.ask(lambda daemon: daemon.verify())
        assert not answer.ok
        assert any(f"{there.mac.hex(':')} in VNI" in problem for problem in answer.problems)


async def test_status_says_which_datapath_runs_and_why(host: ServedHost) -> None:
    host.alarms.append("two hosts are called b")
    status = await host.ask(lambda daemon: daemon.status())
    assert (status.datapath, status.datapath_reason) == ("memory", "it is imagined")
    assert status.gossip_encrypted is False
    assert status.alarms == ("two hosts are called b",)
    assert status.members == {"alive": 1}
    assert status.uptime_s == 75.0


async def test_stats_name_the_places_and_the_reasons(
    host: ServedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await host.ask(lambda daemon: daemon.create_network(BLUE))
    endpoint = await host.ask(lambda daemon: daemon.attach(WEB))
    assert network.vni is not None
    counted = Counters(received=3, delivered=2, drops={DropReason.TOO_BIG: 1})
    stats = Stats(
        ports={PortId(host.port_of(endpoint.id)): counted},
        tunnels={Vni(network.vni): Counters(received=1, drops={DropReason.FRAME_SHORT: 1})},
        peers={vtep_of(9): Counters()},
        stray={DropReason.UNKNOWN_VNI: 5},
        io={"gso_fallbacks": 1},
    )
    monkeypatch.setattr(host.datapath, "stats", lambda: stats)
    answer = await host.ask(lambda daemon: daemon.stats())
    assert [(p.kind, p.name) for p in answer.places] == [
        ("endpoint", "web"),
        ("network", "blue"),
        ("peer", "192.0.2.9:4789"),
    ]
    assert answer.places[0].counters.drops == {"too_big": 1}
    assert answer.stray == {"unknown_vni": 5}
    assert answer.io == {"gso_fallbacks": 1}
    assert answer.control["refutations"] == 3
    status = await host.ask(lambda daemon: daemon.status())
    assert status.drops == {"frame_short": 1, "too_big": 1, "unknown_vni": 5}


async def test_peers_are_told_with_this_host_first(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    async with serve(tmp_path / "sock", cluster) as host:
        await ImaginedHost(cluster, "b").start()
        members = await host.ask(lambda daemon: daemon.peers())
        assert [(m.name, m.local, m.vtep) for m in members] == [
            ("a", True, "192.0.2.1:4789"),
            ("b", False, "192.0.2.2:4789"),
        ]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (NetworkBody("x", subnets=("10.9.0.1/24",)), "did you mean 10.9.0.0/24"),
        (NetworkBody("x", subnets=("ten",)), "'ten' is not a subnet"),
        (NetworkBody("x", gateways=("10.1.0.1",)), "lies in no subnet"),
        (NetworkBody("x", subnets=("10.1.0.0/24",), gateways=("x",)), "is not an IP address"),
        (NetworkBody("x", vni=-1), "out of range"),
    ],
)
async def test_a_wrong_network_is_refused_in_a_sentence(
    host: ServedHost, body: NetworkBody, sentence: str
) -> None:
    with pytest.raises(StateError, match=sentence):
        await host.ask(lambda daemon: daemon.create_network(body))


@pytest.mark.parametrize(
    "join",
    [
        JoinBody("netns", "../x"),
        JoinBody("netns", ""),
        JoinBody("netns", ".."),
        JoinBody("pid", "-1"),
        JoinBody("pid", "one"),
        JoinBody("path", "relative"),
        JoinBody("bridge", "x"),
    ],
)
async def test_what_names_no_sandbox_is_refused(host: ServedHost, join: JoinBody) -> None:
    await host.ask(lambda daemon: daemon.create_network(BLUE))
    with pytest.raises(StateError, match="names no sandbox"):
        await host.ask(lambda daemon: daemon.attach(AttachBody(EndpointBody("blue"), join)))


async def raw(host: ServedHost, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(host.socket))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        (b"GET /nope HTTP/1.1\r\n", b"404", b"GET /nope: Not Found"),
        (b"PUT /v1/networks HTTP/1.1\r\n", b"405", b"Method Not Allowed"),
        (b"POST /v1/networks HTTP/1.1\r\n", b"400", b"the request cannot be read"),
        (b"GET /v1/networks/none HTTP/1.1\r\n", b"409", b"there is no network none"),
    ],
)
async def test_errors_are_a_status_and_a_sentence(
    host: ServedHost, request_: bytes, status: bytes, sentence: bytes
) -> None:
    answer = await raw(host, request_ + b"Host: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert sentence in answer
    assert b'{"error":' in answer


async def test_unknown_fields_of_a_request_are_refused(host: ServedHost) -> None:
    body = b'{"name": "blue", "subnet": "10.9.0.0/24"}'
    head = b"POST /v1/networks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n"
    answer = await raw(host, head % len(body) + b"\r\n" + body)
    assert b"unknown field `subnet`" in answer


async def test_a_fault_of_our_own_is_logged_and_shows_no_traceback(
    host: ServedHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(host.datapath, "stats", fault)
    with pytest.raises(StateError, match="fault of its own"):
        await host.ask(lambda daemon: daemon.stats())
    assert "a request met a fault" in caplog.text


async def test_only_root_and_its_group_may_use_the_socket(host: ServedHost) -> None:
    assert stat.S_IMODE(host.socket.stat().st_mode) == 0o660


async def test_a_second_daemon_on_one_socket_is_refused(host: ServedHost) -> None:
    second = ServedHost(MemoryCluster(), host.socket)
    with pytest.raises(HostError, match="another daemon answers on"):
        await second.server.start()
    assert (await host.ask(lambda daemon: daemon.status())).name == "a"


async def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serve(path) as host:
        assert (await host.ask(lambda daemon: daemon.status())).name == "a"
    assert not path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    path.write_text("precious")
    with pytest.raises(HostError, match="is there and is not a socket"):
        await ServedHost(MemoryCluster(), path).server.start()
    assert path.read_text() == "precious"


async def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"cannot be made: .*; choose another node\.socket"):
        await ServedHost(MemoryCluster(), tmp_path / "file" / "sock").server.start()


def test_no_daemon_is_a_sentence_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="start one with: vxnet daemon"):
        Client(str(tmp_path / "none")).status()


def test_a_daemon_that_ended_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(HostError, match="it has ended"):
        Client(str(path)).status()


def test_a_daemon_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(HostError, match="did not answer within 0 s"):
            Client(str(path), timeout_s=0.1).status()


async def test_the_books_are_checked_live(host: ServedHost) -> None:
    assert await host.ask(lambda daemon: daemon.verify_stats()) == VerifyView(True, ())
    lost = Counters(received=9, delivered=4)
    host.datapath.stats = lambda: Stats({}, {Vni(5): lost}, {}, {}, {})
    answer = await host.ask(lambda daemon: daemon.verify_stats())
    assert not answer.ok
    assert answer.problems == ("network 5: 5 frames entered and are in no other counter",)
