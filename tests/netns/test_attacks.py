"""Under attack: honest traffic goes on, and every frame of the attacker ends in a named counter.

How much of its rate is left is measured by `python -m benchmarks.attacks`.
"""

from collections.abc import Iterator

import pytest

from benchmarks.attacks import INSIDE, OUTSIDE, Scene, scene
from tests.helpers.clusters import drops, reaches
from tests.helpers.datapaths import DATAPATHS
from vxnet.demo.cluster import wait_for
from vxnet.demo.traffic import transfer

pytestmark = pytest.mark.netns

REASONS = {
    "strangers": "unknown_vtep",
    "vni-scan": "unknown_vni",
    "nonsense": "vxlan_no_vni_flag",
    "mac-flood": "port_security",
    "arp-spoofing": "port_security",
    "broadcast-storm": "rate_limited",
    "unknown-unicast": "rate_limited",
}


@pytest.fixture(scope="module", params=DATAPATHS)
def stage(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Two honest stations, a sandbox that is not, and a host that is no member."""
    with scene(request.param) as built:
        assert reaches(built.near, built.far)
        yield built


@pytest.mark.conformance("X3", "X4", "X16", "V13", "V14", "N1")
@pytest.mark.parametrize("kind", OUTSIDE + INSIDE)
def test_an_attack_ends_in_counters_and_honest_traffic_goes_on(stage: Scene, kind: str) -> None:
    victim = stage.cluster.daemons[0]
    reason = REASONS.get(kind)
    if reason == "rate_limited" and stage.datapath == "pure":
        reason = None  # on a busy machine Python takes in less than the limit lets through
    before = drops(victim).get(reason or "", 0)
    rows = len(victim.fdb())
    place, words = stage.attack(kind, 2.0)
    attacker = place.popen(words)
    assert transfer(stage.near, stage.far, stage.far.addresses[0], 1_000_000).intact
    attacker.wait(timeout=30)
    if reason is not None:
        wait_for(lambda: drops(victim).get(reason, 0) > before, 10.0, f"{reason} is counted")
    assert len(victim.fdb()) == rows  # nothing was learned from it
    assert reaches(stage.near, stage.far)
    for daemon in stage.cluster.daemons:
        assert daemon.client.verify_stats().problems == ()
