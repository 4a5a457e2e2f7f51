"""nebula: layer 3 only and always encrypted; a mesh with certificates, in Go."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bed import Bed, Host, Pair, other
from benchmarks.install import apt_get, find, go_install, has_go, lacking
from benchmarks.peers.parts import take_in, wait_for_device
from benchmarks.process import program, run

__all__ = ["Nebula"]

PORT = 4242
MODULES = tuple(
    f"github.com/slackhq/nebula/cmd/{program}@v1.9.7" for program in ("nebula", "nebula-cert")
)
OVERHEAD = 60  # IPv4 20, UDP 8, nebula's header and tag 32


class Nebula:
    """Slack's overlay."""

    name = "nebula"
    title = "nebula"

    def install(self) -> None:
        """Built from its module where that is possible, Debian's otherwise."""
        if has_go():
            go_install(*MODULES)
        else:
            apt_get("nebula")

    def missing(self) -> str | None:
        """Whether both programs are there."""
        return lacking("nebula", "nebula-cert")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A certificate and a daemon for each host, the first one being the lighthouse."""
        _certify(bed)
        with ExitStack() as stack:
            ends, pids = [], []
            for host in bed.hosts:
                config = _configure(bed, host)
                words = [find("nebula") or "nebula", "-config", str(config)]
                log = host.directory / "nebula.log"
                daemon = stack.enter_context(program(words, log, netns=host.path))
                wait_for_device(host, "tun0", daemon)
                ends.append(take_in(host, "tun0", bed.mtu - OVERHEAD))
                pids.append(daemon.pid)
            yield Pair(ends[0], ends[1], tuple(pids))


def _certify(bed: Bed) -> None:
    ca, tool = bed.directory / "ca", find("nebula-cert") or "nebula-cert"
    run([tool, "ca", "-name", "bed", "-out-crt", f"{ca}.crt", "-out-key", f"{ca}.key"])
    for host in bed.hosts:
        out = host.directory / "host"
        words = [tool, "sign", "-name", host.label, "-ip", f"10.42.0.{host.number}/24"]
        words += ["-ca-crt", f"{ca}.crt", "-ca-key", f"{ca}.key"]
        run([*words, "-out-crt", f"{out}.crt", "-out-key", f"{out}.key"])


def _configure(bed: Bed, host: Host) -> Path:
    peer = other(bed, host)
    config = host.directory / "nebula.yml"
    config.write_text(
        f"""\
pki:
  ca: {bed.directory}/ca.crt
  cert: {host.directory}/host.crt
  key: {host.directory}/host.key
static_host_map:
  "10.42.0.{peer.number}": ["{peer.vtep4}:{PORT}"]
lighthouse:
  am_lighthouse: {"true" if host is bed[0] else "false"}
  hosts: [{"" if host is bed[0] else f'"10.42.0.{bed[0].number}"'}]
listen:
  host: {host.vtep4}
  port: {PORT}
tun:
  dev: tun0
  mtu: {bed.mtu - OVERHEAD}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"""
    )
    return config
