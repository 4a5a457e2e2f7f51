"""P11: each of the rules R1 to R8 is needed. Without it, a storm leaves faults behind."""

from functools import partial

import pytest

from tests.sim.runs import over_seeds
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.sim.storm import weather

pytestmark = pytest.mark.timeout(900)

ENOUGH = 32
"""Storms that show every rule's absence several times over."""


@pytest.mark.parametrize("rule", list(Rule), ids=lambda rule: rule.name)
def test_without_any_one_rule_replicas_end_up_wrong(rule: Rule) -> None:
    crippled = partial(weather, 4, rules=ALL_RULES & ~rule)
    for first in range(0, ENOUGH, 4):
        if any(storm.faults for storm in over_seeds(crippled, range(first, first + 4))):
            return
    pytest.fail(f"nothing went wrong in {ENOUGH} storms without {rule.name}")
