"""Ten thousand random steps on three hosts: everything accounted for, nothing left behind."""

from collections import Counter
from contextlib import suppress
from random import Random

import pytest

from tests.helpers.hosts import ImaginedHost
from vxnet.cnm.model import EndpointState, Sandbox, SandboxKind
from vxnet.control.memory import MemoryCluster
from vxnet.endpoints import EndpointRequest
from vxnet.errors import HostError, VxnetError
from vxnet.networks import NetworkRequest

STEPS = 10_000
HOSTS = 3
SANDBOXES = [Sandbox(SandboxKind.NETNS, f"s{number}") for number in range(6)]


class Storm:
    """Hosts that attach, detach, are killed and started again, with disks that fail at times."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.cluster = MemoryCluster()
        self.hosts: list[ImaginedHost] = []
        self.done: Counter[str] = Counter()
        self.seeds = 0

    async def begin(self) -> None:
        for number in range(HOSTS):
            host = ImaginedHost(self.cluster, f"host-{number}")
            for sandbox in SANDBOXES:
                host.host.sandboxes[sandbox.path] = {}
            self.hosts.append(await host.start())
        await self.hosts[0].networks.create(NetworkRequest("blue"))
        for host in self.hosts:
            await host.settle()

    async def step(self, number: int) -> None:
        at = self.random.randrange(HOSTS)
        host = self.hosts[at]
        host.now_ms += self.random.randrange(2_000)
        if self.random.random() < 0.05:
            host.store.refusal = HostError("the disk is full")
        if self.random.random() < 0.05:
            host.link_refusal = HostError("there are too many devices")
        verb = self.random.choices(
            ["attach", "detach", "create", "join", "leave", "kill", "restart"],
            [30, 25, 8, 10, 10, 1, 1],
        )[0]
        try:
            await self.act(verb, at, number)
            self.done[verb] += 1
        except VxnetError:
            self.done["refused"] += 1
        host.store.refusal = host.link_refusal = None

    async def act(self, verb: str, at: int, number: int) -> None:
        host, sandbox = self.hosts[at], self.random.choice(SANDBOXES)
        ifname = f"eth{self.random.randrange(3)}"
        names = [endpoint.name for endpoint in host.endpoints]
        match verb:
            case "attach":
                await host.endpoints.attach(EndpointRequest("blue", f"e{number}"), sandbox, ifname)
            case "create":
                await host.endpoints.create(EndpointRequest("blue", f"e{number}"))
            case "kill":
                self.hosts[at] = await self.start_again(host, killed=True)
            case "restart":
                self.hosts[at] = await self.start_again(host, killed=False)
            case _ if not names:
                return
            case "detach":
                await host.endpoints.remove(self.random.choice(names))
            case "leave":
                await host.endpoints.leave(self.random.choice(names))
            case "join":
                await host.endpoints.join(self.random.choice(names), sandbox, ifname)

    async def start_again(self, host: ImaginedHost, *, killed: bool) -> ImaginedHost:
        host.store.refusal = host.link_refusal = None
        self.seeds += 1
        await (host.crash() if killed else host.stop())
        again = ImaginedHost(
            self.cluster, store=host.store, control=host.control, host=host.host, seed=self.seeds
        )
        again.now_ms = host.now_ms
        await again.start()
        assert again.reports == []
        return again

    def check(self) -> None:
        """What is saved, attached, announced, in sandboxes and on the datapath is the same."""
        macs: list[bytes] = []
        addresses: list[object] = []
        for host in self.hosts:
            endpoints = list(host.endpoints)
            joined = [e for e in endpoints if e.state is EndpointState.JOINED]
            assert {e.state for e in endpoints} <= {EndpointState.CREATED, EndpointState.JOINED}
            assert len(host.store.tables.get("endpoint", {})) == len(endpoints)
            # Every network this host is in has its resolver's port besides.
            assert len(host.datapath.ports) == len(joined) + len({e.network for e in joined})
            inside = {
                (path, name) for path, devices in host.host.sandboxes.items() for name in devices
            }
            assert inside == {(e.sandbox.path, e.ifname) for e in joined if e.sandbox}
            announced = {e.mac for e in host.control.entries() if e.owner == host.control.node}
            assert announced == {e.mac for e in joined}
            assert host.forwarding.verify() == []
            macs += [e.mac for e in endpoints]
            addresses += [address.ip for e in endpoints for address in e.addresses]
        assert len(set(macs)) == len(macs)
        assert len(set(addresses)) == len(addresses)
        held = {lease.address for lease in self.hosts[0].addresses.leases() if not lease.in_grace}
        assert held == set(addresses)


@pytest.mark.timeout(600)
async def test_ten_thousand_steps_leave_everything_accounted_for() -> None:
    storm = Storm(seed=1)
    await storm.begin()
    for number in range(STEPS):
        await storm.step(number)
        if number % 500 == 0:
            storm.check()
    storm.check()
    assert min(storm.done[verb] for verb in ("attach", "detach", "kill", "restart", "join")) > 50
    for host in storm.hosts:
        for endpoint in list(host.endpoints):
            await host.endpoints.remove(endpoint.id)
        assert all(link.closed for link in host.links)
        assert not any(host.host.sandboxes.values())
    storm.check()
    with suppress(StopIteration):
        assert next(iter(storm.hosts[0].addresses.leases())).in_grace
    await storm.hosts[1].networks.remove("blue")
