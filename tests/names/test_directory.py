"""The directory is a function of rows and of who is up, in whatever order they came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.names.site import BLUE, Site, row
from vxnet.errors import StateError, WireError
from vxnet.names.rows import Serving, read_row, write_row

Step = tuple[int, int, str]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.sampled_from("abc-"))),
    st.sets(st.integers(1, 3)),
)
def test_what_is_found_depends_on_what_stands_alone(steps: list[Step], up: set[int]) -> None:
    site, plain = Site(), dict[tuple[int, int], str]()
    for owner, number, name in steps:
        if name == "-":
            site.directory.unhear(owner, number.to_bytes(16))
            plain.pop((owner, number), None)
        else:
            site.hear(number, row(name, f"10.9.0.{number}"), owner)
            plain[owner, number] = name
    site.directory.set_live(frozenset(up))
    for wanted in "abc":
        found = {(n.owner, int.from_bytes(n.id)) for n in site.directory.named(BLUE.id, wanted)}
        assert found == {key for key, name in plain.items() if name == wanted and key[0] in up}


def test_a_row_that_cannot_be_read_leaves_nothing_of_its_key() -> None:
    site = Site()
    site.hear(1, row("web", "10.9.0.1"))
    with pytest.raises(WireError):
        site.directory.hear(1, (1).to_bytes(16), b"\xc1")
    assert list(site.directory) == []


@pytest.mark.parametrize(
    "bad",
    [
        row("", "10.9.0.1"),
        row("x" * 65, "10.9.0.1"),
        row("a\nb", "10.9.0.1"),
        row("many", *(f"10.9.0.{n}" for n in range(1, 12))),
    ],
)
def test_rows_that_no_vxnet_tells_are_refused(bad: object) -> None:
    with pytest.raises(WireError):
        read_row(write_row(bad))  # type: ignore[arg-type]


def test_more_than_a_packet_takes_is_refused_where_it_is_told() -> None:
    with pytest.raises(StateError, match="give it fewer"):
        write_row(row("web", "10.9.0.1", aliases=tuple(f"a{n}" for n in range(17))))
    told = row("web", "10.9.0.1", shop=Serving.DRAINING)
    assert read_row(write_row(told)).serving("shop") is Serving.DRAINING
