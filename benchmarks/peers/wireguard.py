"""wireguard-go: layer 3 only and always encrypted, but the user-space tunnel everyone knows."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, End, Host, Pair, other
from benchmarks.install import apt_get, find, go_install, has_go, lacking
from benchmarks.peers.parts import take_in
from benchmarks.process import Program, program, run, wait_until
from vxnet.errors import HostError

__all__ = ["WireGuard"]

PORT = 51820
PROGRAMS = ("wireguard", "wireguard-go")  # as its module calls it, and as Debian does
MODULE = "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"
OVERHEAD = 80  # IPv6 40, UDP 8, header and tag 32: what its own tools leave, and it pads up to


class WireGuard:
    """The implementation in Go, which moves batches and uses UDP offloads since 2023."""

    name = "wireguard-go"
    title = "wireguard-go"

    def install(self) -> None:
        """Built from its module where that is possible: Debian 12's is from before the offloads."""
        apt_get("wireguard-tools")
        if has_go():
            go_install(MODULE)
        else:
            apt_get("wireguard-go")

    def missing(self) -> str | None:
        """Whether both programs are there."""
        return lacking("wg") or (None if find(*PROGRAMS) else lacking(*PROGRAMS))

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
    words = [find(*PROGRAMS) or PROGRAMS[0], "-f", _device(host)]
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
