"""TAPs as the kernel makes them: names, queues, persistence, and what refusing sounds like."""

import os
import secrets
from collections.abc import Iterator

import pytest

from vxnet.demo.namespace import Namespace
from vxnet.errors import HostError
from vxnet.link.tap import Tap

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    """A namespace of its own, so that no device is made in the machine's."""
    namespace = Namespace(f"vxtap{secrets.token_hex(3)}")
    yield namespace
    namespace.remove()


def devices(place: Namespace) -> str:
    return place.run(["ip", "-o", "link"]).stdout


def test_a_tap_has_the_name_it_was_given_and_goes_when_closed(place: Namespace) -> None:
    tap = place.inside(lambda: Tap.open("vxgiven"))
    assert tap.name == "vxgiven"
    assert "vxgiven" in devices(place)
    assert not os.get_blocking(tap.fds[0])
    tap.close()
    tap.close()
    assert tap.fds == ()
    assert "vxgiven" not in devices(place)


def test_the_kernel_may_choose_the_number(place: Namespace) -> None:
    taps = [place.inside(lambda: Tap.open("vxn%d")) for _ in range(2)]
    assert [tap.name for tap in taps] == ["vxn0", "vxn1"]
    for tap in taps:
        tap.close()


def test_a_tap_takes_super_frames_of_tcp_and_udp(place: Namespace) -> None:
    tap = place.inside(lambda: Tap.open("vxoffload"))
    shown = place.run(["ethtool", "-k", "vxoffload"]).stdout
    assert "tx-tcp-segmentation: on" in shown
    assert "tx-tcp6-segmentation: on" in shown
    assert ("tx-udp-segmentation: on" in shown) == tap.uso
    tap.close()


def test_a_tap_may_have_several_queues(place: Namespace) -> None:
    tap = place.inside(lambda: Tap.open("vxqueues", queues=3))
    assert len(set(tap.fds)) == 3
    tap.close()
    assert "vxqueues" not in devices(place)


def test_a_persistent_tap_is_taken_up_again_under_the_name_it_has_now(place: Namespace) -> None:
    tap = place.inside(lambda: Tap.open("vxlasting", persistent=True))
    tap.close()
    place.run(["ip", "link", "set", "vxlasting", "name", "vxrenamed"])

    again = place.inside(lambda: Tap.open("vxrenamed", persistent=True))
    assert again.name == "vxrenamed"
    let_go = again.part(keep_device=False)
    again.close()
    assert "vxrenamed" in devices(place)
    let_go()
    assert "vxrenamed" not in devices(place)


def test_a_deleted_device_can_be_let_go_of(place: Namespace) -> None:
    tap = place.inside(lambda: Tap.open("vxdeleted", persistent=True))
    place.run(["ip", "link", "del", "vxdeleted"])
    let_go = tap.part(keep_device=False)
    tap.close()
    let_go()


def test_a_name_in_use_is_one_sentence(place: Namespace) -> None:
    place.run(["ip", "link", "add", "vxother", "type", "bridge"])
    with pytest.raises(HostError, match=r"'vxother'.*take another name"):
        place.inside(lambda: Tap.open("vxother"))
    tap = place.inside(lambda: Tap.open("vxtaken"))
    with pytest.raises(HostError, match="another process holds it"):
        place.inside(lambda: Tap.open("vxtaken"))
    tap.close()


def test_a_name_too_long_is_one_sentence() -> None:
    with pytest.raises(HostError, match="longer than 15 octets"):
        Tap.open("a-name-much-too-long")
