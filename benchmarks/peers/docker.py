"""Containers of two Docker engines: on Docker's overlay in a swarm, and on vxnet without one."""

import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bed import Bed, End, Host, Pair
from benchmarks.install import apt_get, lacking
from benchmarks.process import program, run, wait_until
from vxnet.demo.cluster import VXNET, Cluster, Daemon
from vxnet.demo.processes import end_all

__all__ = [
    "IMAGE",
    "PLUGIN",
    "BesideEngine",
    "DockerOverlay",
    "DockerVxnet",
    "docker",
    "engine",
    "import_image",
]

OVERHEAD = 50
BUSYBOX = Path("/bin/busybox")
NETWORK = "bed"
IMAGE = "bed:1"
PLUGIN = """
[docker]
enabled = true
api = ""
"""

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
                stack.enter_context(engine(host))
                import_image(host)
            docker(first, "swarm", "init", "--advertise-addr", first.vtep4)
            token = docker(first, "swarm", "join-token", "--quiet", "worker").strip()
            join = ("swarm", "join", "--advertise-addr", second.vtep4, "--token", token)
            docker(second, *join, f"{first.vtep4}:2377")
            words = ("network", "create", "--driver", "overlay", "--attachable")
            mtu = f"com.docker.network.driver.mtu={bed.mtu - OVERHEAD}"
            docker(first, *words, "--subnet", "10.42.0.0/24", "--opt", mtu, NETWORK)
            near, far = (stack.enter_context(_container(host)) for host in bed.hosts)
            yield Pair(near, far)


class DockerVxnet:
    """vxnet as Docker's users have it: its plugin in each engine, and no swarm."""

    name = "docker-vxnet"
    title = "Docker with vxnet"

    def install(self) -> None:
        """The same packages."""
        DockerOverlay().install()

    def missing(self) -> str | None:
        """Whether what Docker needs is there; vxnet is."""
        return DockerOverlay().missing()

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """An engine and a daemon on each host, one network by its name, one container on each."""
        Path("/run/docker").mkdir(exist_ok=True)
        with ExitStack() as stack:
            cluster = Cluster(bed, settings=PLUGIN)
            cluster.daemons[:] = [
                BesideEngine(host, stack.enter_context(engine(host))) for host in bed.hosts
            ]
            stack.callback(lambda: end_all([daemon.process for daemon in cluster.daemons]))
            cluster.start()
            cluster.wait_for_members()
            mtu = f"mtu={bed.mtu - OVERHEAD}"
            words = ("network", "create", "--driver", "vxnet", "--subnet", "10.42.0.0/24")
            for host in bed.hosts:
                import_image(host)
                docker(host, *words, "--opt", f"network={NETWORK}", "--opt", mtu, NETWORK)
                cluster.wait_for_network(NETWORK)
            near, far = (stack.enter_context(_container(host)) for host in bed.hosts)
            yield Pair(near, far, tuple(daemon.process.pid for daemon in cluster.daemons))


class BesideEngine(Daemon):
    """A daemon that sees the /run/docker of its host's engine."""

    def __init__(self, host: Host, beside: int) -> None:
        super().__init__(host, host.vtep4)
        self._view = ["nsenter", f"--target={beside}", "--mount", "--"]

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [*self._view, *VXNET, "daemon", "-c", str(self.config)]
            self._process = self.host.popen(command, stdout=log, stderr=log)


@contextmanager
def engine(host: Host) -> Iterator[int]:
    """An engine; yields its process's id."""
    home = host.directory
    (home / "run").mkdir()
    words = ["unshare", "--mount", "--uts", "--propagation", "private"]
    words += ["sh", "-ec", START, "sh", host.label, str(home)]
    with program(words, home / "dockerd.log", netns=host.path, grace_s=20) as running:
        wait_until((home / "sock").exists, "dockerd listening", running=running)
        yield running.pid


def import_image(host: Host) -> None:
    image = host.directory / "image.tar"
    with tarfile.open(image, "w") as tar:
        tar.add(BUSYBOX.resolve(), "bin/busybox")
        tar.add(BUSYBOX.resolve(), "bin/sleep")
    # The words name the bed, so that a run that was killed is found in the list of processes.
    words = ["/bin/busybox", "sh", "-c", f"while :; do sleep 60; done # {host.directory}"]
    docker(host, "import", "--change", f"CMD {json.dumps(words)}", str(image), IMAGE)


@contextmanager
def _container(host: Host) -> Iterator[End]:
    address = f"10.42.0.{100 + host.number}"
    words = ("--name", host.name, "--network", NETWORK, "--ip", address)
    docker(host, "run", "--detach", *words, IMAGE)
    try:
        pid = docker(host, "inspect", "--format", "{{.State.Pid}}", host.name).strip()
        yield End(Path(f"/proc/{pid}/ns/net"), address)
    finally:
        docker(host, "rm", "--force", host.name)


def docker(host: Host, *words: str) -> str:
    return run(["docker", "--host", f"unix://{host.directory}/sock", *words], netns=host.path)
