"""Bodies of requests, read into what the verbs take. Raises WireError or StateError."""

import ipaddress
import os

from vxnet.api.model import EndpointBody, JoinBody, NetworkBody, PeerBody
from vxnet.cnm.model import IpAddress, IpNetwork, PublishedPort, Sandbox, SandboxKind, Subnet
from vxnet.config import parse_host_port
from vxnet.datapath.base import Peer
from vxnet.endpoints import EndpointRequest
from vxnet.errors import VxnetError, WireError
from vxnet.networks import NetworkRequest
from vxnet.wire.addr import Vtep, parse_ip, parse_mac

__all__ = ["endpoint_request", "network_request", "peer_of", "sandbox_of"]


def network_request(body: NetworkBody) -> NetworkRequest:
    """A gateway belongs to the subnet it lies in."""
    prefixes = [_prefix(text) for text in body.subnets]
    gateways = [_address(text) for text in body.gateways]
    chosen: dict[IpNetwork, IpAddress] = {}
    for gateway in gateways:
        inside = [prefix for prefix in prefixes if gateway in prefix]
        if not inside:
            raise WireError(f"the gateway {gateway} lies in no subnet given with --subnet")
        chosen[inside[0]] = gateway
    return NetworkRequest(
        name=body.name,
        driver=body.driver,
        subnets=tuple(Subnet(prefix, chosen.get(prefix)) for prefix in prefixes),
        vni=body.vni,
        mtu=body.mtu,
        options=body.options,
        allow_overlap=body.allow_overlap,
    )


def endpoint_request(body: EndpointBody) -> EndpointRequest:
    """Addresses and the MAC as octets."""
    return EndpointRequest(
        network=body.network,
        name=body.name,
        addresses=tuple(_address(text) for text in body.ips),
        mac=parse_mac(body.mac) if body.mac else None,
        published=tuple(_published(text) for text in body.publish),
        priority=body.priority,
        aliases=body.aliases,
        services=body.services,
    )


def sandbox_of(body: JoinBody) -> Sandbox:
    """The sandbox a person named."""
    match body.sandbox_kind:
        case "netns" if (
            body.sandbox and "/" not in body.sandbox and body.sandbox not in (".", "..")
        ):
            return Sandbox(SandboxKind.NETNS, body.sandbox)
        case "pid" if body.sandbox.isascii() and body.sandbox.isdigit():
            return Sandbox(SandboxKind.PID, body.sandbox)
        case "tap" if body.sandbox == body.ifname:
            return Sandbox(SandboxKind.TAP, body.sandbox)
        case "path" if os.path.isabs(body.sandbox) and "\0" not in body.sandbox:
            return Sandbox(SandboxKind.PATH, body.sandbox)
    raise WireError(
        f"{body.sandbox_kind} {body.sandbox!r} names no sandbox; it is a netns's name, "
        "a pid, an absolute path, or a TAP's name that is its interface's too"
    )


def peer_of(body: PeerBody, default_port: int) -> Peer:
    """The foreign VTEP a person named."""
    try:
        host, port = parse_host_port(body.vtep, default_port)
        ip = parse_ip(host)
    except VxnetError:
        raise WireError(
            f"{body.vtep!r} is no VTEP; write it like 192.0.2.9 or 192.0.2.9:4789"
        ) from None
    return Peer(Vtep(ip, port), body.learning, body.mtu)


def _published(text: str) -> PublishedPort:
    ports, _, protocol = text.partition("/")
    outside, colon, inside = ports.partition(":")
    numbers = [int(t) for t in (outside, inside) if t.isascii() and t.isdigit()]
    right = len(numbers) == 2 and all(1 <= number <= 65535 for number in numbers)
    if not colon or not right or protocol not in ("", "tcp", "udp"):
        raise WireError(f"{text!r} publishes no port; write it like 8080:80 or 53:53/udp")
    return PublishedPort(numbers[0], numbers[1], protocol or "tcp")


def _address(text: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise WireError(f"{text!r} is not an IP address") from None


def _prefix(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_interface(text).network
    except ValueError:
        raise WireError(f"{text!r} is not a subnet; write it like 10.9.0.0/24") from None
    raise WireError(f"{text} has host bits; did you mean {meant}?")
