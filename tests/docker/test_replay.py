"""What dockerd 20.10 really sent, sent again over the socket: each call once, and each twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.docker.parts import Plugin
from tests.helpers.hosts import ImaginedHost
from vxnet.control.memory import MemoryCluster

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.jsonl"))
LEFT = {
    "docker-20.10-ipv6-mac-connect-err": (1, 0),  # the recording ends before it is removed
    "docker-20.10-dockerd-restart": (1, 1),
}
ANEW = {"/IpamDriver.RequestPool"}  # asked twice, there are two


def recorded(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


class Dockerd:
    """Sends what was recorded, with the pools and addresses that were given this time."""

    def __init__(self, socket: Path) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)))
        self._given: dict[str, str] = {}

    async def send(self, call: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(call["request"]) if call["request"] else ""
        for was, now in self._given.items():
            body = body.replace(f'"{was}"', f'"{now}"')
        url = f"http://plugin{call['path']}"
        # dockerd sends no Content-Type.
        headers = {aiohttp.hdrs.CONTENT_TYPE: ""}
        async with self._session.post(url, data=body.encode(), headers=headers) as answer:
            assert answer.status == 200
            said: dict[str, Any] = json.loads(await answer.read())
        assert "Err" not in said, (call["path"], said)
        for key in ("PoolID", "Pool", "Address"):
            if key in call["response"]:
                self._given[call["response"][key]] = said[key]
                self._given[call["response"][key].partition("/")[0]] = said[key].partition("/")[0]
        return said

    async def close(self) -> None:
        await self._session.close()


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
async def test_what_dockerd_sent_is_answered(path: Path, twice: bool, tmp_path: Path) -> None:
    host = await ImaginedHost(MemoryCluster()).start()
    plugin = Plugin(host, scope="global" if "swarm" in path.stem else "local")
    server = plugin.server(tmp_path)
    await server.start()
    dockerd = Dockerd(tmp_path / "run/vxnet.sock")
    try:
        for call in recorded(path):
            said = await dockerd.send(call)
            if twice and call["path"] not in ANEW:
                assert await dockerd.send(call) == said
            recorded_keys = {k for k, v in call["response"].items() if v and k != "Err"}
            assert recorded_keys - {"Interface"} <= said.keys()
            if call["path"] == "/NetworkDriver.CreateEndpoint":
                given = call["request"]["Interface"]["MacAddress"]
                assert bool(said["Interface"].get("MacAddress")) is (given == "")
    finally:
        await dockerd.close()
        await server.close()
    networks, endpoints = LEFT.get(path.stem, (0, 0))
    assert len(plugin.ledger.networks) == len(list(host.networks)) == networks
    assert len(plugin.endpoint_ids()) == endpoints
    await host.stop()


async def test_every_fixture_is_there() -> None:
    assert len(FIXTURES) == 6
    assert sum(1 for path in FIXTURES for _ in recorded(path)) > 80


async def test_a_spec_file_says_where_the_socket_is(tmp_path: Path) -> None:
    host = await ImaginedHost(MemoryCluster()).start()
    server = Plugin(host).server(tmp_path)
    await server.start()
    spec = tmp_path / "etc/vxnet.spec"
    assert spec.read_text() == f"unix://{tmp_path}/run/vxnet.sock\n"
    await server.close()
    assert not spec.exists()
    assert not (tmp_path / "run/vxnet.sock").exists()
    await host.stop()


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("NetworkDriver.Sing", b"{}", "vxnet has no call NetworkDriver.Sing"),
        ("NetworkDriver.Join", b"{", "NetworkDriver.Join cannot be read"),
        ("NetworkDriver.Join", b'{"NetworkID": 7}', "NetworkDriver.Join cannot be read"),
        (
            "NetworkDriver.Join",
            b'{"NetworkID": "a", "EndpointID": "b"}',
            "does not know the network",
        ),
        ("IpamDriver.RequestAddress", b'{"PoolID": "x"}', "does not know the address pool x"),
        ("IpamDriver.RequestPool", b'{"Pool": "10.9.0.7/24"}', "'10.9.0.7/24' is not a subnet"),
    ],
)
async def test_nonsense_gets_a_sentence(path: str, body: bytes, says: str, tmp_path: Path) -> None:
    host = await ImaginedHost(MemoryCluster()).start()
    server = Plugin(host).server(tmp_path)
    await server.start()
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(tmp_path / "run/vxnet.sock"))
        ) as session,
        session.post(f"http://plugin/{path}", data=body) as answer,
    ):
        said = json.loads(await answer.read())
        # dockerd looks for it under one name or the other.
        assert says in said["Err"]
        assert said["Error"] == said["Err"]
    await server.close()
    await host.stop()
