"""An endpoint as it is kept on disk: text that a person can read, fields only ever appended."""

import ipaddress
from itertools import chain, repeat

import msgspec

from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    EndpointState,
    NetworkId,
    PublishedPort,
    Sandbox,
    SandboxKind,
)
from vxnet.errors import UNREADABLE, VxnetError
from vxnet.wire.addr import format_mac, parse_mac

__all__ = ["read_endpoint", "write_endpoint"]


class _Saved(msgspec.Struct, frozen=True):
    id: str
    name: str
    network: str
    mac: str
    addresses: tuple[str, ...]
    state: EndpointState
    sandbox: tuple[SandboxKind, str] | None
    ifname: str
    created_ms: int
    published: tuple[tuple[int, int, str], ...] = ()
    priority: int = 0
    published_at: tuple[str, ...] = ()
    """The host's address of each published port; "": any."""
    lent: bool = False
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def write_endpoint(endpoint: Endpoint) -> bytes:
    """One JSON object."""
    sandbox = endpoint.sandbox
    return msgspec.json.encode(
        _Saved(
            id=endpoint.id,
            name=endpoint.name,
            network=endpoint.network,
            mac=format_mac(endpoint.mac),
            addresses=tuple(map(str, endpoint.addresses)),
            state=endpoint.state,
            sandbox=None if sandbox is None else (sandbox.kind, sandbox.value),
            ifname=endpoint.ifname,
            created_ms=endpoint.created_ms,
            published=tuple((p.host_port, p.port, p.protocol) for p in endpoint.published),
            priority=endpoint.priority,
            published_at=tuple(str(p.host_ip or "") for p in endpoint.published),
            lent=endpoint.lent,
            aliases=endpoint.aliases,
            services=endpoint.services,
        )
    )


def read_endpoint(value: bytes) -> Endpoint:
    """What `write_endpoint` wrote. Raises ValueError where it is something else."""
    try:
        saved = msgspec.json.decode(value, type=_Saved)
        return Endpoint(
            id=EndpointId(saved.id),
            name=saved.name,
            network=NetworkId(saved.network),
            mac=parse_mac(saved.mac),
            addresses=tuple(map(ipaddress.ip_interface, saved.addresses)),
            state=saved.state,
            sandbox=None if saved.sandbox is None else Sandbox(*saved.sandbox),
            ifname=saved.ifname,
            created_ms=saved.created_ms,
            published=tuple(
                PublishedPort(port[0], port[1], port[2], ipaddress.ip_address(at) if at else None)
                for port, at in zip(
                    saved.published, chain(saved.published_at, repeat("")), strict=False
                )
            ),
            priority=saved.priority,
            lent=saved.lent,
            aliases=saved.aliases,
            services=saved.services,
        )
    except (*UNREADABLE, VxnetError) as error:
        raise ValueError(str(error)) from None
