"""The made-up stations of the growth benchmark."""

import pytest

from benchmarks.carrier import BATCH, NOBODY, changes
from vxnet.datapath.base import SetEntry


@pytest.mark.parametrize(("entries", "networks"), [(0, 1), (10, 1), (2500, 1000)])
def test_every_station_is_another_one_and_networks_share_them_evenly(
    entries: int, networks: int
) -> None:
    batches = list(changes(entries, networks, NOBODY[0]))
    assert all(len(batch) <= BATCH for batch in batches)
    made = [entry for batch in batches for entry in batch if isinstance(entry, SetEntry)]
    assert len({(entry.vni, entry.mac) for entry in made}) == entries
    per_network = [sum(e.vni == vni for e in made) for vni in {e.vni for e in made}]
    assert not per_network or max(per_network) - min(per_network) <= 1


def test_moving_a_table_changes_every_entry_and_adds_none() -> None:
    first, second = ([e for b in changes(100, 3, vtep) for e in b] for vtep in NOBODY)
    stations = [
        [(e.vni, e.mac) for e in turn if isinstance(e, SetEntry)] for turn in (first, second)
    ]
    assert stations[0] == stations[1]
    assert not set(first) & set(second)
