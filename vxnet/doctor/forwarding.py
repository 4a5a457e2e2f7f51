"""Packet filter rules that keep this host from routing for gateways and bridges of ours."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from vxnet.doctor.finding import HERE, Finding, Findings
from vxnet.drivers.bridge import PREFIX as BRIDGE_PREFIX
from vxnet.stations import GATEWAY_PREFIX

__all__ = ["forwarding"]

WHAT: Final = {
    GATEWAY_PREFIX: "gateways of Docker's networks",
    BRIDGE_PREFIX: "networks of the bridge driver",
}
DIRECTIONS: Final = {"iifname": "-i", "oifname": "-o"}


def forwarding(
    ruleset: Sequence[Mapping[str, Any]], legacy: str, devices: Collection[str]
) -> Findings:
    """Look through `nft -j list ruleset` and `iptables-legacy -S`, for what devices there are."""
    for prefix, what in WHAT.items():
        if any(device.startswith(prefix) for device in devices):
            for family, table, name in _closed(ruleset, prefix):
                place = f"{family} {table} {name}"
                mend = "; ".join(
                    f"nft 'insert rule {place} {direction} \"{prefix}*\" accept'"
                    for direction in DIRECTIONS
                )
                yield _finding(f"chain {name} in table {family} {table}", prefix, what, mend)
            if "-P FORWARD DROP" in legacy.splitlines() and not _legacy_lets_pass(legacy, prefix):
                chain = "DOCKER-USER" if "-N DOCKER-USER" in legacy.splitlines() else "FORWARD"
                mend = "; ".join(
                    f"iptables-legacy -I {chain} {flag} {prefix}+ -j ACCEPT"
                    for flag in DIRECTIONS.values()
                )
                yield _finding("chain FORWARD of iptables-legacy", prefix, what, mend)


def _finding(chain: str, prefix: str, what: str, mend: str) -> Finding:
    return Finding(
        "forwarding",
        HERE,
        f"{chain} drops what this host routes, and lets no {prefix}* pass, so {what} lead nowhere",
        mend,
    )


def _closed(ruleset: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Chains that drop what nothing in their table lets pass for these devices."""
    rules = [rule for item in ruleset if (rule := item.get("rule")) is not None]
    for item in ruleset:
        chain = item.get("chain", {})
        if chain.get("hook") == "forward" and chain.get("policy") == "drop":
            family, table = chain["family"], chain["table"]
            passed = {
                direction
                for rule in rules
                if (rule["family"], rule["table"]) == (family, table)
                for direction in _lets_pass(rule.get("expr", []), prefix)
            }
            if passed != set(DIRECTIONS):
                yield family, table, chain["name"]


def _lets_pass(expressions: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[str]:
    """In which directions a rule lets our devices' packets pass."""
    if not any("accept" in expression for expression in expressions):
        return
    matches = [match for e in expressions if (match := e.get("match")) is not None]
    if not matches:
        yield from DIRECTIONS
    for match in matches:
        match match:
            case {"op": "==", "left": {"meta": {"key": str(key)}}, "right": str(name)}:
                if key in DIRECTIONS and name.startswith(prefix):
                    yield key


def _legacy_lets_pass(legacy: str, prefix: str) -> bool:
    wanted = set(DIRECTIONS.values())
    for words in map(str.split, legacy.splitlines()):
        if words[-2:] == ["-j", "ACCEPT"] and words[1] in ("FORWARD", "DOCKER-USER"):
            wanted -= {flag for flag, name in pairwise(words) if name.startswith(prefix)}
    return not wanted
