"""Every test of the contract runs on each datapath there is, and on the product's event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from tests.datapath.stage import Stage
from tests.helpers.datapaths import DATAPATHS

StageMaker = Callable[..., Awaitable[Stage]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=DATAPATHS)
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
