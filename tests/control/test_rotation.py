"""Rotating keys on running nodes, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from vxnet.control.gossip import GossipControl
from vxnet.control.keyfile import generate_key, read_keys, write_keys
from vxnet.control.rotation import Rotation
from vxnet.errors import HostError, StateError, WireError
from vxnet.gossip.events import MemberState
from vxnet.wire.addr import Vni, Vtep, parse_ip, parse_mac

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Keeper:
    """A node with its keys."""

    control: GossipControl
    rotation: Rotation
    file: Path


@asynccontextmanager
async def keepers(folder: Path, count: int, key: bytes) -> AsyncIterator[list[Keeper]]:
    async with AsyncExitStack() as stack:
        found: list[Keeper] = []
        for number in range(1, count + 1):
            file = folder / f"{number}.key"
            write_keys(file, [key])
            control = GossipControl(
                name=f"n{number}",
                vtep=Vtep(parse_ip(f"127.0.71.{number}"), 4789),
                port=found[0].control.port if found else 0,
                seeds=[("127.0.71.1", found[0].control.port)] if found else [],
                state_file=folder / f"{number}.json",
                keys=read_keys(file),
            )
            await control.start()
            stack.push_async_callback(control.close)
            found.append(Keeper(control, Rotation(control, file), file))
        await until(lambda: all(len(k.control.members()) == count for k in found))
        yield found


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is told by nobody
            await asyncio.sleep(0.02)


def lacking(keeper: Keeper, kid: str) -> tuple[str, ...]:
    return next(state.lacking_on for state in keeper.rotation.states() if state.id == kid)


async def test_a_rotation_loses_nobody_and_the_files_follow(tmp_path: Path) -> None:
    old, new = generate_key(), generate_key()
    async with keepers(tmp_path, 3, old) as cluster:
        first = cluster[0]
        before = first.rotation.states()[0].id
        kid = await first.rotation.install(new)
        with pytest.raises(StateError, match="not installed on n2, n3"):
            await first.rotation.use(kid)
        for keeper in cluster[1:]:
            assert await keeper.rotation.install(new) == kid
        await until(lambda: all(lacking(keeper, kid) == () for keeper in cluster))
        for keeper in cluster:
            await keeper.rotation.use(kid)
        for keeper in cluster:
            await keeper.rotation.remove(before)
            assert read_keys(keeper.file) == (new,)
        cluster[2].control.attach(Vni(7))
        first.control.attach(Vni(7))
        cluster[2].control.announce(Vni(7), parse_mac("02:00:00:00:00:07"))
        await until(lambda: len(first.control.entries(Vni(7))) == 1)
        for keeper in cluster:
            states = {member.state for member in keeper.control.members()}
            assert states == {MemberState.ALIVE}


async def test_the_key_in_use_stays_and_unknown_ids_are_named(tmp_path: Path) -> None:
    async with keepers(tmp_path, 1, generate_key()) as (only,):
        kid = only.rotation.states()[0].id
        with pytest.raises(StateError, match="in use"):
            await only.rotation.remove(kid)
        with pytest.raises(StateError, match="00000000 is not installed"):
            await only.rotation.use("00000000", force=True)
        with pytest.raises(WireError, match="'frob' is no key's id"):
            await only.rotation.use("frob")


async def test_a_change_that_cannot_be_written_down_is_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    async with keepers(folder, 1, generate_key()) as (only,):
        before = only.rotation.states()
        lost = Rotation(only.control, tmp_path / "gone" / "gossip.key")
        with pytest.raises(HostError, match="cannot be written"):
            await lost.install(generate_key())
        assert only.rotation.states() == before


async def test_without_a_key_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    control = GossipControl(
        name="n", vtep=Vtep(parse_ip("127.0.71.9"), 4789), port=0, state_file=tmp_path / "s"
    )
    await control.start()
    try:
        with pytest.raises(StateError, match=r"set gossip\.key_file"):
            Rotation(control, None).states()
    finally:
        await control.close()
