"""The gossip on real sockets: hosts find each other, spread rows, leave, come back, and say no."""

import asyncio
import errno
import json
import logging
import os
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.control.parts import BLUE, Host, cluster, control, mac, running, send, until
from vxnet.errors import HostError, StateError
from vxnet.gossip.events import Alarm, AlarmKind, EntryGone, MemberState, RecordKind
from vxnet.gossip.security import Security
from vxnet.wire.addr import Ip, Vtep, parse_ip
from vxnet.wire.gossip import Alive, Hello, encode, pack

KEY = bytes(range(32))


# ── together ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["in clear", "sealed"])
async def test_three_hosts_find_each_other_and_know_where_stations_are(
    tmp_path: Path, keys: tuple[bytes, ...]
) -> None:
    async with AsyncExitStack() as stack:
        hosts = await cluster(stack, tmp_path, 3, keys=keys)
        for at, host in enumerate(hosts):
            host.plane.attach(BLUE)
            host.plane.announce(BLUE, mac(at), (parse_ip(f"10.0.0.{at}"),))
        await until(lambda: all(host.stations() == {mac(0), mac(1), mac(2)} for host in hosts))
        (entry,) = [e for e in hosts[0].plane.entries(BLUE) if e.mac == mac(2)]
        assert entry.vtep == Vtep(parse_ip("127.0.0.3"), 4789)
        assert entry.ips == (parse_ip("10.0.0.2"),)
        hosts[2].plane.withdraw(BLUE, mac(2))
        await until(lambda: all(mac(2) not in host.stations() for host in hosts))


async def test_a_station_that_moves_is_followed_by_all(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        hosts = await cluster(stack, tmp_path, 3)
        for host in hosts:
            host.plane.attach(BLUE)
        hosts[0].plane.announce(BLUE, mac(1))
        await until(lambda: all(host.stations() for host in hosts))
        hosts[1].plane.announce(BLUE, mac(1), moved=True)
        there = hosts[1].plane.members()[0].id
        await until(lambda: all(h.plane.entries(BLUE)[0].owner == there for h in hosts))
        assert hosts[0].plane.entries(BLUE)[0].sequence == 1


async def test_records_reach_hosts_that_have_no_network_and_go_when_retracted(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2)
        one.plane.publish(RecordKind.NETWORK, b"blue", b"body")
        await until(lambda: bool(two.plane.records(RecordKind.NETWORK)))
        (record,) = two.plane.records(RecordKind.NETWORK)
        assert (record.key, record.body) == (b"blue", b"body")
        assert two.plane.records(RecordKind.NAME) == []
        one.plane.retract(RecordKind.NETWORK, b"blue")
        await until(lambda: not two.plane.records(RecordKind.NETWORK))


async def test_a_network_given_up_takes_its_stations_with_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2)
        for host in (one, two):
            host.plane.attach(BLUE)
        one.plane.announce(BLUE, mac(1))
        await until(lambda: two.stations() == {mac(1)})
        one.plane.detach(BLUE)
        await until(lambda: two.stations() == set())
        assert EntryGone(BLUE, mac(1)) in two.events


async def test_thousands_of_rows_reach_a_host_that_joins_late(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(tmp_path, 1))
        first.plane.attach(BLUE)
        for at in range(5000):
            first.plane.announce(BLUE, mac(at), (Ip(at.to_bytes(4, "big")),))
        late = await stack.enter_async_context(running(tmp_path, 2, seeds=[first.seed]))
        late.plane.attach(BLUE)
        await until(lambda: len(late.stations()) == 5000)
        assert late.plane.counters()["fetches"] >= 1  # they came over TCP
        assert late.plane.counters().get("streams_mismatched", 0) == 0


async def test_a_host_that_leaves_is_gone_at_once_and_not_thought_dead(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2)
        for host in (one, two):
            host.plane.attach(BLUE)
        two.plane.announce(BLUE, mac(1))
        await until(lambda: one.stations() == {mac(1)})
        await two.plane.close()
        assert one.state("h2") is MemberState.LEFT
        assert one.stations() == set()
        assert "deaths" not in one.plane.counters()
        await two.plane.close()  # again is as good as once


async def test_a_host_that_is_killed_is_found_dead_and_comes_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2)
        for host in (one, two):
            host.plane.attach(BLUE)
        two.plane.announce(BLUE, mac(1))
        await until(lambda: one.stations() == {mac(1)})
        port = two.plane.port
        await kill(two)
        await until(lambda: one.state("h2") is MemberState.DEAD)
        assert one.stations() == set()
        back = await stack.enter_async_context(running(tmp_path, 2, port=port, seeds=[one.seed]))
        back.plane.attach(BLUE)
        back.plane.announce(BLUE, mac(2))
        await until(lambda: one.state("h2") is MemberState.ALIVE and one.stations() == {mac(2)})


async def kill(host: Host) -> None:
    """End a host without a farewell."""
    plane = host.plane
    plane._closed = True
    for task in plane._tasks:
        task.cancel()
    if plane._timer is not None:
        plane._timer.cancel()
    plane._node = None
    await plane._datagrams.close()
    await plane._connections.close()


async def test_hosts_with_different_keys_stay_strangers(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(tmp_path, 1, keys=(KEY,)))
        two = await stack.enter_async_context(
            running(tmp_path, 2, keys=(KEY[::-1],), seeds=[one.seed])
        )
        await until(lambda: one.plane.counters().get("dropped_malformed", 0) > 1)
        assert one.alive() == {"h1"}
        assert two.alive() == {"h2"}


async def test_a_name_that_is_taken_is_not_let_in_and_is_told_why(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(tmp_path, 1, name="web"))
        two = await stack.enter_async_context(running(tmp_path, 2, name="web", seeds=[one.seed]))
        await until(lambda: any(isinstance(event, Alarm) for event in two.events))
        (alarm,) = [event for event in two.events if isinstance(event, Alarm)]
        assert alarm.kind is AlarmKind.DUPLICATE_NAME
        assert "give this host another node.name" in alarm.text
        assert len(two.plane.members()) == 1


# ── seeds ─────────────────────────────────────────────────────────────────────────────────────


async def test_seeds_may_be_names(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as one:
        seeds = [("localhost", one.plane.port)]
        async with running(tmp_path, 2, seeds=seeds) as two:
            await until(lambda: two.alive() == {"h1", "h2"})


@pytest.mark.parametrize("name", ["nowhere.invalid", "x" * 70 + ".example", "a..b"])
async def test_a_seed_that_is_not_found_is_said_and_the_others_are_used(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, 1) as one:
        with caplog.at_level(logging.WARNING):
            async with running(tmp_path, 2, seeds=[(name, 7947), one.seed]) as two:
                await until(lambda: two.alive() == {"h1", "h2"})
                assert two.plane.counters()["seeds_unresolved"] >= 1
    assert "seed not resolved" in caplog.text


async def test_seeds_are_looked_up_again(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as one:
        answers: list[str] = []

        async def lookup(host: str, port: int, **_: object) -> list[object]:
            answers.append(host)
            address = "127.0.0.9" if len(answers) == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port))]

        asyncio.get_running_loop().getaddrinfo = lookup  # type: ignore[assignment, method-assign]
        async with running(tmp_path, 2, seeds=[("moving.example", one.plane.port)]) as two:
            await until(lambda: two.alive() == {"h1", "h2"})
        assert answers[:2] == ["moving.example"] * 2


async def test_seeds_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as one, running(tmp_path, 2) as two:
        assert two.alive() == {"h2"}
        two.plane.set_seeds([one.seed])
        await until(lambda: two.alive() == {"h1", "h2"} == one.alive())


async def test_peers_of_the_last_life_are_as_good_as_seeds(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as one:
        async with running(tmp_path, 2, seeds=[one.seed]) as two:
            await until(lambda: two.alive() == {"h1", "h2"})
        async with running(tmp_path, 2) as again:
            await until(lambda: again.alive() == {"h1", "h2"})


# ── what the system refuses ───────────────────────────────────────────────────────────────────


async def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as one:
        other = control(tmp_path, 1, port=one.plane.port, state_file=tmp_path / "other.json")
        with pytest.raises(
            HostError, match=f"UDP 127.0.0.1 port {one.plane.port}: Address already in use"
        ):
            await other.start()
        await other.close()


async def test_a_tcp_port_in_use_is_a_sentence_and_gives_the_udp_port_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        plane = control(tmp_path, 1, port=port)
        with pytest.raises(HostError, match=f"TCP 127.0.0.1 port {port}: .*in use"):
            await plane.start()
    async with running(tmp_path, 1, port=port) as host:
        assert host.plane.port == port


async def test_an_address_of_another_host_is_a_sentence(tmp_path: Path) -> None:
    plane = control(tmp_path, 1, vtep=Vtep(parse_ip("192.0.2.1"), 4789))
    with pytest.raises(HostError, match=r"192\.0\.2\.1 port 0.*not an address of this host"):
        await plane.start()


async def test_before_the_start_there_is_nothing_to_ask(tmp_path: Path) -> None:
    plane = control(tmp_path)
    for call in (plane.members, lambda: plane.attach(BLUE), lambda: plane.announce(BLUE, mac(1))):
        with pytest.raises(StateError, match="not started"):
            call()
    assert plane.counters() == {}
    await plane.close()


# ── the state file ────────────────────────────────────────────────────────────────────────────


async def test_identity_is_kept_and_each_start_is_a_later_epoch(tmp_path: Path) -> None:
    lives = []
    for _ in range(3):
        async with running(tmp_path) as host:
            lives.append((host.plane.members()[0].id, host.plane._node.epoch))
    assert len({node for node, _ in lives}) == 1
    assert lives == sorted(lives)
    assert len({epoch for _, epoch in lives}) == 3


async def test_an_epoch_that_was_raised_is_kept_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        node = host.plane._node
        raised = node.epoch + 1_000_000
        me = node.identity
        other = Security(me.cluster, 5, 1, None)
        claim = Alive(me.id, raised, 0, me.name, me.vtep.ip, 4789, host.plane.port)
        hello = Hello(bytes(8), claim, 1, 1, 0, bytes(160))
        friend = Alive(5, 1, 0, "friend", parse_ip("127.0.0.1"), 4789, 9)
        send(host, other.seal(pack([encode(Hello(bytes(8), friend, 1, 1, 0, bytes(160)))])))
        send(host, other.seal(pack([encode(hello), encode(claim)])))
        await until(lambda: node.epoch == raised + 1)
        await until(lambda: json.loads(host.plane._state_file.read_bytes())["epoch"] == raised + 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"node_id": "\xff", "epoch": 1}',
        b'{"node_id": 5}',
        b'{"node_id": -5, "epoch": 1}',
        b'{"node_id": 0, "epoch": 1}',
        b'{"node_id": 1208925819614629174706176, "epoch": 1}',
        b'{"node_id": 5, "epoch": -1}',
        b'{"node_id": 5, "epoch": 281474976710656}',
        b'{"node_id": 5, "epoch": 1, "peers": [["nonsense", 7947]]}',
        b'{"node_id": 5, "epoch": 1, "peers": [["127.0.0.1", 0]]}',
        b'{"node_id": 5, "epoch": 1, "peers": [["127.0.0.1", 65536]]}',
    ],
    ids=lambda content: repr(content[:60]),
)
async def test_a_state_file_that_does_not_read_is_as_good_as_none(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "gossip-1.json").write_bytes(content)
    async with running(tmp_path, 1) as one, running(tmp_path, 2, seeds=[one.seed]) as two:
        await until(lambda: two.alive() == {"h1", "h2"})
        assert one.plane.members()[0].id not in (0, 5)


async def test_a_state_file_that_may_not_be_read_or_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "directory", tmp_path / "missing" / "gossip.json"):
        plane = control(tmp_path, state_file=path)
        with pytest.raises(HostError, match=f"gossip state {path} cannot be"):
            await plane.start()


async def test_a_full_disk_does_not_stop_the_gossip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        one, two = await cluster(stack, tmp_path, 2)
        tried: list[int] = []

        def full(handle: int) -> None:
            tried.append(handle)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        one.plane._save_soon.set()
        await until(lambda: bool(tried))
        two.plane.publish(RecordKind.NAME, b"still", b"here")
        await until(lambda: bool(one.plane.records(RecordKind.NAME)))
        monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["gossip-1.json", "gossip-2.json"]
