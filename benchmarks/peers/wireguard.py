"""wireguard-go: layer 3 only and always encrypted, but the user-space tunnel everyone knows."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, End, Host, Pair, other
from benchmarks.peers.parts import lacking, take_in
from benchmarks.process import Program, program, run, wait_until
from vxnet.errors import HostError

__all__ = ["WireGuard"]

PORT = 51820
OVERHEAD = 60  # IPv4 20, UDP 8, WireGuard's header and tag 32


class WireGuard:
    """The implementation in Go, which moves batches and uses UDP offloads since 2023."""

    name = "wireguard-go"
    title = "wireguard-go"
    packages = ("wireguard-go", "wireguard-tools")

    def missing(self) -> str | None:
        """Whether both programs are there."""
        return lacking("wireguard-go", "wg")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A TUN device on each host, each with the other as its only peer."""
        keys = {host.name: run(["wg", "genkey"]).strip() for host in bed.hosts}
        with ExitStack() as stack:
            daemons = [stack.enter_context(_daemon(host)) for host in bed.hosts]
            for host, daemon in zip(bed.hosts, daemons, strict=True):
                _configure(bed, host, keys, daemon)
            near, far = (_end(bed, host) for host in bed.hosts)
            yield Pair(near, far, tuple(daemon.pid for daemon in daemons))


def _device(host: Host) -> str:
    # Its control socket is named after the device, in one directory for all namespaces.
    return host.name.replace("-", "")


@contextmanager
def _daemon(host: Host) -> Iterator[Program]:
    words = ["wireguard-go", "-f", _device(host)]
    with program(words, host.directory / "wireguard.log", netns=host.path) as daemon:
        yield daemon


def _configure(bed: Bed, host: Host, keys: dict[str, str], daemon: Program) -> None:
    peer = other(bed, host)
    public = run(["wg", "pubkey"], given=keys[peer.name]).strip()
    config = host.directory / "wireguard.conf"
    config.write_text(
        f"[Interface]\nPrivateKey = {keys[host.name]}\nListenPort = {PORT}\n"
        f"[Peer]\nPublicKey = {public}\nEndpoint = {peer.vtep4}:{PORT}\n"
        "AllowedIPs = 10.42.0.0/24\n"
    )

    def is_configured() -> bool:
        try:
            run(["wg", "setconf", _device(host), str(config)], netns=host.path)
        except HostError:
            return False
        return True

    wait_until(is_configured, "wireguard-go taking its configuration", running=daemon)


def _end(bed: Bed, host: Host) -> End:
    return take_in(host, _device(host), bed.mtu - OVERHEAD)
