"""What rules of others do to our ports, as `nft -j list ruleset` shows them."""

from typing import Any

import pytest

from vxnet.doctor.firewall import firewall

PORTS = {("udp", 4789): "VXLAN"}


def chain(hook: str = "input", policy: str = "accept", kind: str = "filter") -> dict[str, Any]:
    about = {"family": "inet", "table": "t", "name": "c", "type": kind}
    return {"chain": {**about, "hook": hook, "prio": 0, "policy": policy}}


def rule(*expressions: dict[str, Any]) -> dict[str, Any]:
    about = {"family": "inet", "table": "t", "chain": "c", "handle": 7}
    return {"rule": {**about, "expr": list(expressions)}}


def match(right: object, protocol: str = "udp", field: str = "dport") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": "==", "left": left, "right": right}}


DROP, ACCEPT = {"drop": None}, {"accept": None}
OTHER = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}


@pytest.mark.parametrize(
    "rules",
    [
        [rule(match(4789), DROP)],
        [rule(match({"set": [53, 4789]}), DROP)],
        [rule(match({"range": [4000, 5000]}), {"reject": None})],
        [rule(match({"set": [{"range": [4780, 4790]}]}, "th"), DROP)],
        [rule(OTHER, ACCEPT), rule(match(4789), DROP)],
    ],
)
def test_a_rule_that_drops_a_port_is_found_with_the_command_that_deletes_it(
    rules: list[dict[str, Any]],
) -> None:
    [finding] = firewall([chain(), *rules], PORTS)
    assert finding.name == "firewall"
    assert "udp port 4789 (VXLAN)" in finding.text
    assert finding.mend == "nft delete rule inet t c handle 7"


@pytest.mark.parametrize(
    "ruleset",
    [
        [],
        [chain()],
        [chain(), rule(match(4790), DROP)],
        [chain(), rule(match(4789, "tcp"), DROP)],
        [chain(), rule(match(4789), ACCEPT), rule(match(4789), DROP)],
        [chain(kind="nat"), rule(match(4789), DROP)],
        [chain(policy="drop"), rule(match(4789), ACCEPT)],
        [chain(policy="drop"), rule(ACCEPT)],
        [chain(hook="forward", policy="drop")],
    ],
)
def test_rules_that_let_it_pass_or_are_about_something_else_are_no_finding(
    ruleset: list[dict[str, Any]],
) -> None:
    assert list(firewall(ruleset, PORTS)) == []


@pytest.mark.parametrize(("hook", "word"), [("input", "dport"), ("output", "sport")])
def test_a_chain_that_drops_what_nobody_lets_pass_is_found(hook: str, word: str) -> None:
    [finding] = firewall([chain(hook, "drop"), rule(OTHER, ACCEPT)], PORTS)
    assert finding.mend == f"nft insert rule inet t c udp {word} 4789 accept"
