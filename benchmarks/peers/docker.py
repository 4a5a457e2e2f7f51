"""Docker's own overlay network between two engines in a swarm: container to container."""

import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bed import Bed, End, Host, Pair
from benchmarks.install import apt_get, lacking
from benchmarks.process import program, run, wait_until

__all__ = ["DockerOverlay"]

OVERHEAD = 50
BUSYBOX = Path("/bin/busybox")
NETWORK = "bed"
IMAGE = "bed:1"

# A private mount namespace, so that each engine has a /run/docker (sockets, plugins) of its own.
START = """
hostname "$1"
mount --bind "$2/run" /run/docker
exec dockerd --data-root "$2/data" --exec-root "$2/exec" --pidfile "$2/pid" \\
    --host "unix://$2/sock"
"""


class DockerOverlay:
    """What vxnet's users have now: kernel VXLAN, a bridge and a namespace, set up by Docker."""

    name = "docker"
    title = "Docker overlay"

    def install(self) -> None:
        """Debian's."""
        apt_get("docker.io", "iptables", "busybox-static")

    def missing(self) -> str | None:
        """Whether engine, client and what goes into the container are there."""
        return lacking("dockerd", "docker", "iptables", "busybox")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """An engine on each host, one attachable overlay, one container on each."""
        Path("/run/docker").mkdir(exist_ok=True)
        first, second = bed.hosts
        with ExitStack() as stack:
            for host in bed.hosts:
                stack.enter_context(_engine(host))
                _import_image(host)
            _docker(first, "swarm", "init", "--advertise-addr", first.vtep4)
            token = _docker(first, "swarm", "join-token", "--quiet", "worker").strip()
            join = ("swarm", "join", "--advertise-addr", second.vtep4, "--token", token)
            _docker(second, *join, f"{first.vtep4}:2377")
            words = ("network", "create", "--driver", "overlay", "--attachable")
            mtu = f"com.docker.network.driver.mtu={bed.mtu - OVERHEAD}"
            _docker(first, *words, "--subnet", "10.42.0.0/24", "--opt", mtu, NETWORK)
            near, far = (stack.enter_context(_container(host)) for host in bed.hosts)
            yield Pair(near, far)


@contextmanager
def _engine(host: Host) -> Iterator[None]:
    home = host.directory
    (home / "run").mkdir()
    words = ["unshare", "--mount", "--uts", "--propagation", "private"]
    words += ["sh", "-ec", START, "sh", host.label, str(home)]
    with program(words, home / "dockerd.log", netns=host.path, grace_s=20) as engine:
        wait_until((home / "sock").exists, "dockerd listening", running=engine)
        yield


def _import_image(host: Host) -> None:
    image = host.directory / "image.tar"
    with tarfile.open(image, "w") as tar:
        tar.add(BUSYBOX.resolve(), "bin/busybox")
        tar.add(BUSYBOX.resolve(), "bin/sleep")
    # The words name the bed, so that a run that was killed is found in the list of processes.
    words = ["/bin/busybox", "sh", "-c", f"while :; do sleep 60; done # {host.directory}"]
    _docker(host, "import", "--change", f"CMD {json.dumps(words)}", str(image), IMAGE)


@contextmanager
def _container(host: Host) -> Iterator[End]:
    address = f"10.42.0.{100 + host.number}"
    words = ("--name", host.name, "--network", NETWORK, "--ip", address)
    _docker(host, "run", "--detach", *words, IMAGE)
    try:
        pid = _docker(host, "inspect", "--format", "{{.State.Pid}}", host.name).strip()
        yield End(Path(f"/proc/{pid}/ns/net"), address)
    finally:
        _docker(host, "rm", "--force", host.name)


def _docker(host: Host, *words: str) -> str:
    return run(["docker", "--host", f"unix://{host.directory}/sock", *words], netns=host.path)
