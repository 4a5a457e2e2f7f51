"""Talks to a daemon over its socket. Imports little, so that commands are quick."""

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from vxnet.api.model import (
    AttachBody,
    DetachBody,
    DnsView,
    DrainBody,
    DriverView,
    EndpointBody,
    EndpointView,
    ErrorView,
    FdbView,
    ForceBody,
    ForeignView,
    HistoryView,
    JoinBody,
    KeyBody,
    KeyView,
    LeaseView,
    MemberView,
    NetworkBody,
    NetworkView,
    PeerBody,
    ReclaimBody,
    ReclaimView,
    SandboxBody,
    SandboxView,
    ServiceBody,
    ServiceView,
    StatsView,
    StatusView,
    VerifyView,
)
from vxnet.api.seen import FactsView, ProbeView, SightView, TraceBody, TraceView
from vxnet.errors import UNREADABLE, HostError, StateError

__all__ = ["Client", "UnixConnection"]

TIMEOUT_S = 60.0

T = TypeVar("T")


class Client:
    """A daemon, as seen from outside. Raises StateError with its sentence where it says no."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def status(self) -> StatusView:
        return self._ask("GET", "/v1/status", StatusView)

    def peers(self) -> list[MemberView]:
        return self._ask("GET", "/v1/peers", list[MemberView])

    def verify_stats(self) -> VerifyView:
        return self._ask("GET", "/v1/stats/verify", VerifyView)

    def foreign(self, network: str) -> list[ForeignView]:
        return self._ask("GET", f"/v1/networks/{quote(network, '')}/peers", list[ForeignView])

    def add_foreign(self, network: str, body: PeerBody) -> ForeignView:
        return self._ask("POST", f"/v1/networks/{quote(network, '')}/peers", ForeignView, body)

    def remove_foreign(self, network: str, vtep: str) -> ForeignView:
        path = f"/v1/networks/{quote(network, '')}/peers/{quote(vtep, '')}"
        return self._ask("DELETE", path, ForeignView)

    def stats(self) -> StatsView:
        return self._ask("GET", "/v1/stats", StatsView)

    def fdb(self, network: str | None = None) -> list[FdbView]:
        return self._ask("GET", "/v1/fdb" + _query(network), list[FdbView])

    def verify(self) -> VerifyView:
        return self._ask("GET", "/v1/fdb/verify", VerifyView)

    def dns(self, name: str, network: str) -> DnsView:
        return self._ask("GET", f"/v1/dns/{quote(name, '')}" + _query(network), DnsView)

    def services(self) -> list[ServiceView]:
        return self._ask("GET", "/v1/services", list[ServiceView])

    def create_service(self, body: ServiceBody) -> ServiceView:
        return self._ask("POST", "/v1/services", ServiceView, body)

    def service(self, name: str) -> ServiceView:
        return self._ask("GET", f"/v1/services/{quote(name, '')}", ServiceView)

    def remove_service(self, name: str) -> ServiceView:
        return self._ask("DELETE", f"/v1/services/{quote(name, '')}", ServiceView)

    def drain(self, name: str, body: DrainBody) -> ServiceView:
        return self._ask("POST", f"/v1/services/{quote(name, '')}/drain", ServiceView, body)

    def networks(self) -> list[NetworkView]:
        return self._ask("GET", "/v1/networks", list[NetworkView])

    def create_network(self, body: NetworkBody) -> NetworkView:
        return self._ask("POST", "/v1/networks", NetworkView, body)

    def network(self, name: str) -> NetworkView:
        return self._ask("GET", f"/v1/networks/{quote(name, '')}", NetworkView)

    def remove_network(self, name: str) -> NetworkView:
        return self._ask("DELETE", f"/v1/networks/{quote(name, '')}", NetworkView)

    def endpoints(self, network: str | None = None) -> list[EndpointView]:
        return self._ask("GET", "/v1/endpoints" + _query(network), list[EndpointView])

    def create_endpoint(self, body: EndpointBody) -> EndpointView:
        return self._ask("POST", "/v1/endpoints", EndpointView, body)

    def endpoint(self, name: str) -> EndpointView:
        return self._ask("GET", f"/v1/endpoints/{quote(name, '')}", EndpointView)

    def remove_endpoint(self, name: str) -> EndpointView:
        return self._ask("DELETE", f"/v1/endpoints/{quote(name, '')}", EndpointView)

    def join(self, name: str, body: JoinBody) -> EndpointView:
        return self._ask("POST", f"/v1/endpoints/{quote(name, '')}/join", EndpointView, body)

    def leave(self, name: str) -> EndpointView:
        return self._ask("POST", f"/v1/endpoints/{quote(name, '')}/leave", EndpointView)

    def detach(self, body: DetachBody) -> EndpointView:
        return self._ask("POST", "/v1/detach", EndpointView, body)

    def leases(self, network: str | None = None) -> list[LeaseView]:
        return self._ask("GET", "/v1/ipam" + _query(network), list[LeaseView])

    def reclaim(self, body: ReclaimBody) -> ReclaimView:
        return self._ask("POST", "/v1/ipam/reclaim", ReclaimView, body)

    def drivers(self) -> list[DriverView]:
        return self._ask("GET", "/v1/drivers", list[DriverView])

    def sandboxes(self) -> list[SandboxView]:
        return self._ask("GET", "/v1/sandboxes", list[SandboxView])

    def create_sandbox(self, body: SandboxBody) -> SandboxView:
        return self._ask("POST", "/v1/sandboxes", SandboxView, body)

    def sandbox(self, name: str) -> SandboxView:
        return self._ask("GET", f"/v1/sandboxes/{quote(name, '')}", SandboxView)

    def remove_sandbox(self, name: str) -> SandboxView:
        return self._ask("DELETE", f"/v1/sandboxes/{quote(name, '')}", SandboxView)

    def attach(self, body: AttachBody) -> EndpointView:
        return self._ask("POST", "/v1/attach", EndpointView, body)

    def keys(self) -> list[KeyView]:
        return self._ask("GET", "/v1/keys", list[KeyView])

    def install_key(self, body: KeyBody) -> list[KeyView]:
        return self._ask("POST", "/v1/keys", list[KeyView], body)

    def use_key(self, kid: str, body: ForceBody) -> list[KeyView]:
        return self._ask("POST", f"/v1/keys/{quote(kid, '')}/use", list[KeyView], body)

    def remove_key(self, kid: str, body: ForceBody) -> list[KeyView]:
        return self._ask("POST", f"/v1/keys/{quote(kid, '')}/remove", list[KeyView], body)

    def history(self, about: str, value: str) -> list[HistoryView]:
        return self._ask("GET", f"/v1/history/{about}/{quote(value, '')}", list[HistoryView])

    def trace(self, body: TraceBody) -> TraceView:
        return self._ask("POST", "/v1/trace", TraceView, body)

    def facts(self) -> FactsView:
        return self._ask("GET", "/v1/facts", FactsView)

    def probe(self) -> list[ProbeView]:
        return self._ask("GET", "/v1/probe", list[ProbeView])

    def capture(
        self, network: str | None, snap: int, begun: Callable[[], None]
    ) -> Iterator[SightView]:
        """Frames as they pass, until the daemon ends; `begun` is called once none escapes."""
        query = f"?snap={snap}" + _query(network).replace("?", "&")
        connection = UnixConnection(self._path, None)
        with self._explained(connection):
            connection.request("GET", "/v1/capture" + query)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                self._read(answer.status, answer.read(), SightView)
            for line in answer:
                if line.isspace():
                    begun()
                else:
                    yield self._read(answer.status, line, SightView)

    def _ask(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        connection = UnixConnection(self._path, self._timeout_s)
        with self._explained(connection):
            payload = b"" if body is None else msgspec.json.encode(body)
            connection.request(method, path, payload)
            answer = connection.getresponse()
            content = answer.read()
        return self._read(answer.status, content, kind)

    @contextmanager
    def _explained(self, connection: "UnixConnection") -> Iterator[None]:
        """Close the connection at the end; what goes wrong becomes a sentence."""
        try:
            yield
        except FileNotFoundError:
            raise HostError(
                f"no daemon answers on {self._path}: the socket does not exist; "
                "start one with: vxnet daemon -c FILE, or name another with --socket"
            ) from None
        except ConnectionRefusedError:
            raise HostError(
                f"no daemon answers on {self._path}: it has ended; start it again"
            ) from None
        except PermissionError:
            raise HostError(
                f"{self._path} may not be opened by this user; use sudo, or join the socket's group"
            ) from None
        except TimeoutError:
            raise HostError(
                f"the daemon on {self._path} did not answer within {self._timeout_s:.0f} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise HostError(f"the daemon on {self._path} cannot be reached: {error}") from None
        finally:
            connection.close()

    def _read(self, status: int, content: bytes, kind: type[T]) -> T:
        try:
            if status == http.client.OK:
                return msgspec.json.decode(content, type=kind)
            raise StateError(msgspec.json.decode(content, type=ErrorView).error)
        except UNREADABLE as error:
            raise HostError(f"what answers on {self._path} is not this vxnet: {error}") from None


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _query(network: str | None) -> str:
    return "" if network is None else f"?network={quote(network, '')}"
