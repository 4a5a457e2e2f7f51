"""fastd, method null: authenticated at the start, the payload neither encrypted nor checked."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, Host, Pair, other
from benchmarks.install import apt_get, lacking
from benchmarks.peers.parts import take_in, wait_for_device
from benchmarks.process import Program, program, run

__all__ = ["Fastd"]

PORT = 10000
OVERHEAD = 52  # IPv4 20, UDP 8, fastd's header up to 10, inner Ethernet 14


class Fastd:
    """A layer-2 VPN, popular with community networks."""

    name = "fastd"
    title = "fastd"

    def install(self) -> None:
        """Debian's."""
        apt_get("fastd")

    def missing(self) -> str | None:
        """Whether the program is there."""
        return lacking("fastd")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A daemon on each host that knows the other's key."""
        mtu = bed.mtu - OVERHEAD
        secrets = {host.name: _secret() for host in bed.hosts}
        with ExitStack() as stack:
            ends, pids = [], []
            for host in bed.hosts:
                daemon = stack.enter_context(_daemon(bed, host, mtu, secrets))
                wait_for_device(host, "tap0", daemon)
                ends.append(take_in(host, "tap0", mtu))
                pids.append(daemon.pid)
            yield Pair(ends[0], ends[1], tuple(pids))


@contextmanager
def _daemon(bed: Bed, host: Host, mtu: int, secrets: dict[str, str]) -> Iterator[Program]:
    peer = other(bed, host)
    config = host.directory / "fastd.conf"
    config.write_text(
        f'mode tap; interface "tap0"; method "null"; mtu {mtu};\n'
        f'secret "{secrets[host.name]}"; bind {host.vtep4}:{PORT};\n'
        f'peer "other" {{ key "{_public(secrets[peer.name])}"; remote {peer.vtep4}:{PORT}; }}\n'
    )
    with program(
        ["fastd", "--config", str(config)], host.directory / "fastd.log", netns=host.path
    ) as daemon:
        yield daemon


def _secret() -> str:
    return run(["fastd", "--generate-key", "--machine-readable"]).split()[0]


def _public(secret: str) -> str:
    config = f'secret "{secret}";'
    return run(["fastd", "--config", "-", "--show-key", "--machine-readable"], given=config).strip()
