"""What the packet filter does for networks that this host leads out of: NAT, ports, isolation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vxnet.cnm.model import Endpoint, IpNetwork

__all__ = ["Outlet", "rules"]


@dataclass(frozen=True, slots=True)
class Outlet:
    """A device of the host that a network is behind."""

    device: str
    prefixes: tuple[IpNetwork, ...]
    internal: bool = False  # nothing leads out of it


def rules(outlets: Iterable[Outlet], endpoints: Iterable[Endpoint]) -> str:
    """The chains for these outlets and the ports of these endpoints, in nft's language."""
    outlets = list(outlets)
    devices = ", ".join(f'"{outlet.device}"' for outlet in outlets)
    isolate = [
        f"iifname {{ {devices} }} oifname {{ {devices} }} ct status dnat accept",
        *(
            f'iifname "{o.device}" oifname {{ {devices} }} oifname != "{o.device}" drop'
            for o in outlets
        ),
    ]
    internal = [o for o in outlets if o.internal]
    isolate += [f'iifname "{o.device}" oifname != "{o.device}" drop' for o in internal]
    isolate += [f'oifname "{o.device}" iifname != "{o.device}" drop' for o in internal]
    # From elsewhere only answers and published ports get in. Docker's filter would see to that, but
    # all it can be told without making its table unreadable for iptables is to leave ours alone.
    isolate += [
        f"oifname {{ {devices} }} {let_in} accept"
        for let_in in (
            f"iifname {{ {devices} }}",
            "ct state established,related",
            "ct status dnat",
        )
    ]
    isolate.append(f"oifname {{ {devices} }} drop")
    outward = [
        f'{_family(prefix)} saddr {prefix} oifname != "{o.device}" masquerade'
        for o in outlets
        if not o.internal
        for prefix in o.prefixes
    ]
    # A station that asks for its own host's published port is answered through the host, too.
    hairpin = [
        f'iifname "{o.device}" oifname "{o.device}" ct status dnat masquerade' for o in outlets
    ]
    published = [rule for endpoint in endpoints for rule in _publish(endpoint)]
    return "\n".join(
        (
            _chain("forward", "type filter hook forward priority filter", isolate),
            _chain("postrouting", "type nat hook postrouting priority srcnat", outward + hairpin),
            _chain("prerouting", "type nat hook prerouting priority dstnat", published),
            _chain("output", "type nat hook output priority -100", published),
        )
    )


def _publish(endpoint: Endpoint) -> Iterator[str]:
    for port in endpoint.published:
        for address in endpoint.addresses:
            if port.host_ip is not None and port.host_ip.version != address.version:
                continue
            family = "ip" if address.version == 4 else "ip6"
            loopback = "127.0.0.0/8" if address.version == 4 else "::1"
            host = f"fib daddr type local {family} daddr != {loopback}"
            if port.host_ip is not None:
                host = f"{family} daddr {port.host_ip}"
            target = (
                f"{address.ip}:{port.port}" if family == "ip" else f"[{address.ip}]:{port.port}"
            )
            yield f"{host} {port.protocol} dport {port.host_port} dnat {family} to {target}"


def _chain(name: str, hook: str, lines: list[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"  chain {name} {{\n    {hook}; policy accept;\n{body}  }}"


def _family(prefix: IpNetwork) -> str:
    return "ip" if prefix.version == 4 else "ip6"
