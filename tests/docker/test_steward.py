"""What Docker forgot is removed; what it has is named, and left alone."""

import pytest

from tests.docker.parts import ImaginedEngine, Plugin, docker_id
from tests.helpers.hosts import ImaginedHost
from vxnet.control.memory import MemoryCluster
from vxnet.docker.answers import NOBODY
from vxnet.docker.engine import (
    EngineAttachment,
    EngineAttachments,
    EngineConfig,
    EngineContainerState,
    EngineHostConfig,
    EngineRestartPolicy,
    EngineState,
)

POOL = ("10.9.0.0/24", "10.9.0.1/24")


@pytest.fixture
async def plugin() -> Plugin:
    """A network that Docker has, and two containers in it."""
    plugin = Plugin(await ImaginedHost(MemoryCluster()).start(), engine=ImaginedEngine())
    network = await plugin.create_network("blue", POOL, options={"network": "blue"})
    assert plugin.engine is not None
    plugin.engine.named[network] = "blue"
    plugin.engine.containers[network] = {name: docker_id(name) for name in ("web", "db")}
    await plugin.run("web", network, "10.9.0.5/24")
    await plugin.run("db", network, "10.9.0.6/24")
    return plugin


async def look(plugin: Plugin, times: int = 3) -> None:
    for _ in range(times):
        await plugin.steward.look()
        plugin.host.now_ms += 15_000


def names(plugin: Plugin) -> set[str]:
    return {endpoint.name for endpoint in plugin.host.endpoints}


async def test_endpoints_are_called_like_their_containers(plugin: Plugin) -> None:
    await look(plugin)
    assert names(plugin) == {"web", "db"}


async def test_a_label_makes_a_container_a_member_of_services(plugin: Plugin) -> None:
    assert plugin.engine is not None
    plugin.engine.details["web"] = EngineContainerState(
        "web",
        config=EngineConfig({"vxnet.service": "shop, cache"}),
        settings=EngineAttachments({"blue": EngineAttachment(aliases=["www", "web"])}),
    )
    plugin.engine.details["db"] = EngineContainerState(
        "db", config=EngineConfig({"vxnet.service": "no/name"})
    )
    await look(plugin, 1)
    web, db = plugin.host.endpoints.get("web"), plugin.host.endpoints.get("db")
    assert (web.services, web.aliases) == (("shop", "cache"), ("www",))
    assert db.services == ()


async def test_an_endpoint_no_container_has_is_removed_with_a_line(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    assert plugin.engine is not None
    [inside] = plugin.engine.containers.values()
    await look(plugin)
    del inside["db"]
    await look(plugin, 1)
    assert names(plugin) == {"web", "db"}  # it may be on its way
    await look(plugin)
    assert names(plugin) == {"web"}
    assert "an orphan of Docker's was removed" in caplog.text


async def test_while_dockerd_is_down_only_those_without_a_sandbox_are_removed(
    plugin: Plugin,
) -> None:
    assert plugin.engine is not None
    await look(plugin)
    plugin.engine.down = True
    del plugin.host.host.sandboxes["/var/run/docker/netns/db"]
    await look(plugin)
    assert names(plugin) == {"web"}


async def test_a_network_docker_has_not_goes_with_all_that_is_its(plugin: Plugin) -> None:
    assert plugin.engine is not None
    plugin.engine.named.clear()
    await look(plugin)
    assert plugin.ledger.networks == {}
    assert names(plugin) == set()
    assert list(plugin.host.networks) == []


async def test_an_address_of_a_dead_container_is_free_for_the_next(plugin: Plugin) -> None:
    del plugin.host.host.sandboxes["/var/run/docker/netns/db"]
    await plugin.run("new", docker_id("blue"), "10.9.0.6/24")
    assert {str(e.addresses[0]) for e in plugin.host.endpoints} == {"10.9.0.5/24", "10.9.0.6/24"}


async def test_what_docker_could_not_start_without_vxnet_is_started(plugin: Plugin) -> None:
    engine = plugin.engine
    assert engine is not None
    engine.waiting = [
        EngineContainerState(
            name,
            state=EngineState(error),
            host_config=EngineHostConfig(EngineRestartPolicy(policy)),
        )
        for name, error, policy in (
            ("waits", f"legacy plugin: Plugin.Activate: {NOBODY}", "always"),
            ("by hand", f"legacy plugin: Plugin.Activate: {NOBODY}", "no"),
            ("broken", "exec: no such file", "always"),
        )
    ]
    reported: list[Exception] = []
    engine.down = True
    assert not await plugin.steward.revive(engine, reported.append)
    engine.down = False
    assert await plugin.steward.revive(engine, reported.append)
    assert (engine.started, reported) == (["waits"], [])
