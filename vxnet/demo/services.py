"""`vxnet demo --services`: a service by name and address, while a member and a host die."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from vxnet.demo.checks import MAIN, SUBNETS, members_up
from vxnet.demo.report import Finding
from vxnet.demo.shop import NAME, PORT, PUBLISHED, TOLD, Member, Request, Shop
from vxnet.demo.stage import Check, Stage

__all__ = ["CHECKS"]

REQUESTS: Final = 25  # of each thread of a customer, at rest
GATEWAYS: Final = ("10.9.0.1", "fd00:9::1")
"""Nobody's addresses; by them members have a way out, and answer clients outside."""
BEFORE_S: Final = 3.0
AFTER_S: Final = 4.0


def service_made(stage: Stage) -> Finding:
    """A service with members on every host, each of which every host believes healthy."""
    cluster = stage.cluster
    cluster.daemons[0].create_network(MAIN, SUBNETS, GATEWAYS)
    cluster.wait_for_network(MAIN)
    stage.opened = shop = Shop(cluster)
    seconds = shop.wait_until_healthy()
    views = [daemon.client.service(NAME) for daemon in cluster.daemons]
    alike = len({(view.vips, view.ports, len(view.members)) for view in views}) == 1
    return Finding(
        alike and bool(shop.vips),
        f"{NAME} at {' and '.join(shop.vips)}, port {PORT}; {len(shop.members)} members on "
        f"{len(cluster.daemons)} hosts, all healthy everywhere after {seconds:.1f} s"
        + ("" if alike else "; hosts tell different things of it"),
        {"vips": shop.vips, "seconds": seconds},
    )


def names_found(stage: Stage) -> Finding:
    """What programs in sandboxes get for the service's name, and for its members'."""
    shop = stage.shop
    everybody = {address for m in shop.members for address in m.station.addresses}
    wanted = {
        NAME: set(shop.vips),
        f"{NAME}.{MAIN}": set(shop.vips),
        f"tasks.{NAME}": everybody,
        **{m.name: set(m.station.addresses) for m in shop.members[:2]},
    }
    wrong = [
        f"{customer.label} got {' '.join(sorted(got)) or 'nothing'} for {name}"
        for customer in shop.customers
        for name, addresses in wanted.items()
        if (got := shop.resolve(customer, name)) != addresses
    ]
    return Finding(
        not wrong,
        "; ".join(wrong) or f"{len(shop.customers)} sandboxes find {', '.join(wanted)} as they are",
        {"wrong": wrong},
    )


def load_balanced(stage: Stage) -> Finding:
    """Requests to the service's name reach every member, which sees who really asks."""
    return _spread(stage.shop, stage.shop.ask(stage.shop.customers, REQUESTS, "by address"))


def published(stage: Stage) -> Finding:
    """Each host asks another at published ports: members see it, or are told by a header."""
    shop = stage.shop
    seconds = shop.wait_until_open()
    requests = shop.ask(shop.outsiders(shop.daemons), REQUESTS, "by published port")
    found = _spread(shop, requests)
    told = _spread(shop, shop.ask(shop.outsiders(shop.daemons, TOLD), REQUESTS, "by PROXY header"))
    return Finding(
        found.ok and told.ok,
        f"port {PUBLISHED} open on {len(shop.daemons)} hosts after {seconds:.1f} s; {found.seen}; "
        f"port {TOLD}, where hosts tell the client in a header: {told.seen}",
        {**found.details, "told": told.details},
    )


def _spread(shop: Shop, requests: Sequence[Request]) -> Finding:
    counts = Counter(r.member for r in requests if not r.error)
    everybody = {member.name for member in shop.members}
    errors, strangers = _errors(requests), _strangers(requests)
    return Finding(
        not errors and not strangers and set(counts) == everybody,
        f"{len(requests)} requests, {len(errors)} failed; by member: "
        f"{', '.join(f'{name} {counts[name]}' for name in sorted(everybody))}; "
        + _seen_by(strangers),
        {"requests": len(requests), "failed": errors, "members": counts, "strangers": strangers},
    )


def member_killed(stage: Stage) -> Finding:
    """A member's server is killed under load."""
    victim = stage.shop.members[1]
    return _kill(stage.shop, "a member dies", [victim], victim.kill)


def host_killed(stage: Stage) -> Finding:
    """A host is killed under load, with its daemon and its members; its customers are elsewhere."""
    shop, last = stage.shop, stage.cluster.daemons[-1]
    victims = [member for member in shop.members if member.daemon is last and member.is_alive]

    def kill() -> None:
        last.host.kill()
        shop.daemons.remove(last)
        for member in victims:
            member.fate = f"went with {last.host.label}"

    return _kill(shop, "a host dies", victims, kill)


def _kill(shop: Shop, phase: str, victims: Sequence[Member], kill: Callable[[], None]) -> Finding:
    with shop.load(phase) as requests:
        time.sleep(BEFORE_S)
        kill()
        killed = time.monotonic()
        gone_s = shop.wait_until_healthy()
        time.sleep(AFTER_S)
    failed = [r for r in requests if r.error]
    # Those under way may fail, if the dead had them; whoever comes later is to notice nothing.
    late = [r for r in failed if r.begun > killed]
    alive = [m.connections() for m in shop.members if m.is_alive]
    elsewhere = [r for r in failed if any(r.is_of(connections) for connections in alive)]
    others = {m.name for m in shop.members if m.is_alive}
    served = {r.member for r in requests if r.begun > killed and not r.error}
    strangers = _strangers(requests)
    after = [r for r in requests if r.begun > killed]
    waits = [r.ended - r.begun for r in after if not r.error]
    names = " and ".join(m.name for m in victims)
    what = f"{names} killed" if len(victims) == 1 else f"{names} killed with their host"
    under_way = sum(r.begun <= killed < r.ended for r in requests)
    details: dict[str, Any] = {
        "requests": len(requests),
        "begun_after": len(after),
        "under_way": under_way,
        "failed": _errors(requests),
        "failed_that_began_after": len(late),
        "failed_on_living_members": len(elsewhere),
        "seconds_until_gone": gone_s,
        "longest_wait_s": max(waits, default=None),
        "seconds_until_told": [r.ended - killed for r in failed],
        "strangers": strangers,
    }
    seen = (
        f"{what} with {under_way} requests under way: {len(failed)} of {len(requests)} failed"
        f"{', those that the dead had' if failed and not elsewhere else ''}; {len(after)} began "
        f"later, of which {len(late)} failed, the slowest took {max(waits, default=0.0):.1f} s; "
        f"not counted on any more after {gone_s:.1f} s; {_seen_by(strangers)}"
    )
    if elsewhere:
        seen += f"; {len(elsewhere)} FAILED ON LIVING MEMBERS"
    if missing := others - served:
        seen += f"; NOTHING WENT TO {', '.join(sorted(missing))}"
    holds = not late and not elsewhere and not missing and not strangers
    return Finding(holds and len(failed) <= under_way and bool(after), seen, details)


def _errors(requests: Sequence[Request]) -> list[str]:
    return [r.error for r in requests if r.error]


def _strangers(requests: Sequence[Request]) -> list[str]:
    """Whom members saw that did not ask."""
    return [r.client for r in requests if not r.error and r.client not in r.customer.addresses]


def _seen_by(strangers: Sequence[str]) -> str:
    if strangers:
        return f"MEMBERS SAW {', '.join(sorted(set(strangers)))} INSTEAD OF WHO ASKED"
    return "members saw who asked"


CHECKS = (
    Check("members", "Members up", members_up),
    Check("service", "A service with six members", service_made),
    Check("name", "It is found by its name", names_found),
    Check("balance", "Requests are spread over all members", load_balanced),
    Check("published", "So they are at each host's published port", published),
    Check("member", "A member dies under load", member_killed),
    Check("host", "A host dies under load", host_killed),
)
