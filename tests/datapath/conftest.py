"""Every test of the contract runs on each datapath there is, and on the product's event loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from tests.datapath.stage import Stage
from vxnet.datapath.select import select
from vxnet.wire.addr import Vtep, parse_ip

StageMaker = Callable[..., Awaitable[Stage]]


def _kinds() -> list[str]:
    """The datapaths to test. One that was meant to be there and is not fails every test of it."""
    if os.environ.get("VXNET_REQUIRE_NATIVE") == "1":
        return ["pure", "native"]
    best, _ = select("auto", Vtep(parse_ip("127.0.0.1"), 0))
    return ["pure"] if best.name == "pure" else ["pure", best.name]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=_kinds())
def kind(request: pytest.FixtureRequest) -> str:
    """Which datapath."""
    return str(request.param)


@pytest_asyncio.fixture
async def make_stage(kind: str) -> AsyncIterator[StageMaker]:
    """Makes stages of this kind, and takes them down."""
    made: list[Stage] = []

    async def make(**options: Any) -> Stage:
        stage = Stage(kind, **options)
        made.append(stage)
        await stage.start()
        return stage

    yield make
    for stage in made:
        await stage.close()


@pytest_asyncio.fixture
async def stage(make_stage: StageMaker) -> Stage:
    """One datapath with one network on it."""
    return await make_stage()
