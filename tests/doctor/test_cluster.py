"""What the daemon's answers say is wrong."""

from vxnet.api.model import EndpointView, FdbView
from vxnet.api.seen import FactsView, UnreadableView
from vxnet.doctor.cluster import LOOKED_INTO, MENDS, duplicates, unreadable
from vxnet.gossip.events import AlarmKind

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
WEB = EndpointView("id", "web", "blue", OURS, ("10.9.0.1/24",), "joined", "netns web", "eth0", 0)


def row(mac: str, *ips: str, vtep: str | None = "192.0.2.2:4789", network: str = "blue") -> FdbView:
    """A line of the forwarding table."""
    return FdbView(
        network, 42, mac, ips, vtep, None if vtep is None else "b", None, "control", None
    )


def test_stations_with_things_of_their_own_are_no_finding() -> None:
    rows = [row(OURS, "10.9.0.1", vtep=None), row(THEIRS, "10.9.0.2")]
    rows.append(row("02:00:00:00:00:03", "10.9.0.1", network="red"))
    assert list(duplicates([WEB], rows)) == []


def test_an_address_and_a_mac_that_are_elsewhere_too_are_found() -> None:
    [found] = duplicates([WEB], [row(THEIRS, "10.9.0.1")])
    assert (found.name, found.mend.split(";")[0]) == (
        "duplicate_ip",
        "detach the one that is wrong",
    )
    [found] = duplicates([WEB], [row(OURS, "10.9.0.1")])
    assert (found.name, "behind b has it too" in found.text) == ("duplicate_mac", True)


def test_what_cannot_be_opened_is_told_apart_and_forgotten_in_time() -> None:
    whys = {
        "a packet under key ab12, which is not installed here": "wrong_key",
        "a packet in clear, and this node has a gossip key": "wrong_key",
        "a packet that key ab does not open: damaged, forged or another cluster's": "other_cluster",
        "gossip of wire version 2; this host speaks 1": "version_mismatch",
        "a packet that begins with 0x00 is not gossip": "stranger",
    }
    for why, name in whys.items():
        facts = FactsView({}, (), (UnreadableView("192.0.2.3:7947", why, 1.0),), (), ())
        [found] = unreadable(facts)
        assert (found.name, found.advice) == (name, name == "stranger")
        old = FactsView({}, (), (UnreadableView("192.0.2.3:7947", why, 1000.0),), (), ())
        assert list(unreadable(old)) == []


def test_there_is_a_mend_for_every_alarm() -> None:
    assert set(MENDS) | LOOKED_INTO >= set(AlarmKind)
