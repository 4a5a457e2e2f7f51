"""Packet filter rules that drop what hosts send to each other, as far as rules say so."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vxnet.doctor.finding import HERE, Finding, Findings

__all__ = ["firewall"]

HOOKS: Final = ("ingress", "prerouting", "input", "output", "postrouting")
REFUSING: Final = ("drop", "reject")

_Port = tuple[str, int]
_Chain = tuple[str, str, str]  # family, table, name


def firewall(ruleset: Sequence[Mapping[str, Any]], ports: Mapping[_Port, str]) -> Findings:
    """Look through `nft -j list ruleset`; `ports` are ours (`udp`, 4789) with what they are for."""
    chains: dict[_Chain, Mapping[str, Any]] = {}
    rules: dict[_Chain, list[Mapping[str, Any]]] = {}
    for item in ruleset:
        if (chain := item.get("chain")) is not None:
            chains[chain["family"], chain["table"], chain["name"]] = chain
        if (rule := item.get("rule")) is not None:
            rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
    for key, chain in chains.items():
        if chain.get("hook") not in HOOKS or chain.get("type") != "filter":
            continue
        for (protocol, port), purpose in ports.items():
            yield from _of_port(key, chain, rules.get(key, []), protocol, port, purpose)


def _of_port(
    key: _Chain,
    chain: Mapping[str, Any],
    rules: Sequence[Mapping[str, Any]],
    protocol: str,
    port: int,
    purpose: str,
) -> Findings:
    family, table, name = key
    what = f"{protocol} port {port} ({purpose})"
    is_let_in = False
    for rule in rules:
        expressions = rule.get("expr", [])
        named = any(_names_port(expression, protocol, port) for expression in expressions)
        only_verdict = not any("match" in expression for expression in expressions)
        if (named or only_verdict) and any("accept" in expression for expression in expressions):
            is_let_in = True
        if named and not is_let_in and _refuses(expressions):
            yield Finding(
                "firewall",
                HERE,
                f"a rule of chain {name} in table {family} {table} drops {what}",
                f"nft delete rule {family} {table} {name} handle {rule['handle']}",
            )
            return
    if chain.get("policy") == "drop" and chain["hook"] in ("input", "output") and not is_let_in:
        direction = "dport" if chain["hook"] == "input" else "sport"
        yield Finding(
            "firewall",
            HERE,
            f"chain {name} in table {family} {table} drops what no rule lets pass, and none"
            f" lets {what} pass",
            f"nft insert rule {family} {table} {name} {protocol} {direction} {port} accept",
        )


def _refuses(expressions: Sequence[Mapping[str, Any]]) -> bool:
    return any(verdict in expression for expression in expressions for verdict in REFUSING)


def _names_port(expression: Mapping[str, Any], protocol: str, port: int) -> bool:
    match expression.get("match"):
        case {"op": "==" | "in", "left": {"payload": {"protocol": p, "field": f}}, "right": right}:
            return p in (protocol, "th") and f in ("dport", "sport") and port in _Ports(right)
        case _:
            return False


class _Ports:
    """The right side of a match: a number, a range, or a set of both."""

    def __init__(self, right: object) -> None:
        self._right = right

    def __contains__(self, port: int) -> bool:
        return any(low <= port <= high for low, high in _ranges(self._right))


def _ranges(right: object) -> Iterator[tuple[int, int]]:
    match right:
        case int():
            yield right, right
        case {"range": [int(low), int(high)]}:
            yield low, high
        case {"set": list(elements)}:
            for element in elements:
                yield from _ranges(element)
        case _:
            return
