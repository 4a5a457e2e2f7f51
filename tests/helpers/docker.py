"""Hosts with a real dockerd and a vxnet daemon each, which see one /run/docker of their own."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vxnet.demo.bed import Bed, Host
from vxnet.demo.cluster import VXNET, Cluster, Daemon, wait_for
from vxnet.demo.processes import end_all

__all__ = [
    "IMAGE",
    "SETTINGS",
    "WITH_PORTER",
    "DockerHost",
    "docker_hosts",
    "dockers_filter",
    "left_on",
]

IMAGE = "vx:1"
SETTINGS = """
[docker]
enabled = true
api = "/run/docker/docker.sock"
"""
PORTER = (sys.executable, "-m", "vxnet.docker.porter")
BEHIND = "/run/docker/vxnet.sock"
WITH_PORTER = f'{SETTINGS}socket = "{BEHIND}"\n'
"""The daemon listens where only the porter asks."""
HOLD = 'hostname "$1"; mount --bind "$2" /run/docker; echo ready; exec sleep infinity'
PROGRAMS = ("iperf3",)
WAITING = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]


class DockerHost(Daemon):
    """A host's daemon, its dockerd, and their common view of the file system."""

    def __init__(self, host: Host, vtep: str) -> None:
        super().__init__(host, vtep)
        self.home = host.directory / "docker"
        (self.home / "run").mkdir(parents=True)
        Path("/run/docker").mkdir(exist_ok=True)
        words = ["unshare", "--mount", "--uts", "--propagation", "private"]
        words += ["sh", "-ec", HOLD, "sh", host.label, str(self.home / "run")]
        self._holder = host.popen(words, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self._engine: subprocess.Popen[bytes] | None = None
        self._porter: subprocess.Popen[bytes] | None = None

    def start_porter(self) -> None:
        """Have what dockerd asks be there whether the daemon is or not."""
        with (self.home / "porter.log").open("ab") as log:
            command = self._inside([*PORTER, BEHIND, "/run/docker/plugins/vxnet.sock"])
            self._porter = self.host.popen(command, stdout=log, stderr=log)
        socket = self.home / "run/plugins/vxnet.sock"
        wait_for(socket.exists, 30.0, f"the porter of {self.host.label} is there")

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = self._inside([*VXNET, "daemon", "-c", str(self.config)])
            self._process = self.host.popen(command, stdout=log, stderr=log)

    def start_engine(self, *more: str) -> float:
        """Start dockerd; returns after how many seconds it answered."""
        words = [
            "dockerd",
            *more,
            "--data-root",
            f"{self.home}/data",
        ]
        words += ["--pidfile", f"{self.home}/pid", "--host", "unix:///run/docker/docker.sock"]
        began = time.monotonic()
        with (self.home / "dockerd.log").open("ab") as log:
            self._engine = self.host.popen(self._inside(words), stdout=log, stderr=log)
        wait_for(self._engine_answers, 90.0, f"dockerd of {self.host.label} answers")
        return time.monotonic() - began

    def _engine_answers(self) -> bool:
        assert self._engine is not None
        assert self._engine.poll() is None, (self.home / "dockerd.log").read_text()[-2000:]
        return self.try_docker("version").returncode == 0

    def stop_engine(self) -> None:
        """Ask dockerd to end, containers and all."""
        if self._engine is not None:
            end_all([self._engine], patience_s=60.0)

    def kill_engine(self) -> None:
        """End dockerd without a goodbye; its containers go on."""
        assert self._engine is not None
        self._engine.kill()
        self._engine.wait()
        (self.home / "pid").unlink(missing_ok=True)
        # Its containerd goes with it, but not at once; a next one would find the files taken.
        pid = (self.home / "run/containerd/containerd.pid").read_text().strip()
        wait_for(lambda: not Path("/proc", pid).exists(), 30.0, "its containerd ended")

    def remove_containers(self) -> None:
        """Have no container any more."""
        if names := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", *names)

    def close(self) -> None:
        """End every container, dockerd and what holds the mounts."""
        if self._engine is not None and self._engine.poll() is None:
            self.remove_containers()
        self.stop_engine()
        end_all([p for p in (self._porter, self._holder) if p is not None])

    def try_docker(self, *words: str, within_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `docker`, as a user on this host would."""
        # Debian's client beside Debian's engine; a newer one speaks otherwise.
        command = ["/usr/bin/docker", "--host", "unix:///run/docker/docker.sock", *words]
        return self.host.run(self._inside(command), check=False, timeout_s=within_s)

    def docker(self, *words: str, within_s: float = 60.0) -> str:
        """Run `docker`, which has to succeed; returns what it says."""
        done = self.try_docker(*words, within_s=within_s)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}{self.last_words()}"
        return done.stdout.strip()

    def refusal(self, *words: str) -> str:
        """What `docker` says when it refuses."""
        done = self.try_docker(*words)
        assert done.returncode != 0, f"docker {' '.join(words)} was not refused"
        return done.stderr.strip()

    def container(self, name: str, network: str, *words: str) -> None:
        """Run a container that only waits."""
        self.docker("run", "--detach", "--name", name, "--network", network, *words, IMAGE)

    def inside(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return self.try_docker("exec", container, *command)

    def address(self, container: str, network: str) -> str:
        """The IPv4 address Docker says a container has in a network."""
        [found] = json.loads(self.docker("inspect", container))
        address: str = found["NetworkSettings"]["Networks"][network]["IPAddress"]
        return address

    def pings(self, container: str, address: str) -> bool:
        """Whether a container gets an answer."""
        done = self.inside(container, "ping", "-c", "1", "-W", "2", address)
        return done.returncode == 0

    def inspect(self, network: str) -> dict[str, Any]:
        """A network, as Docker has it."""
        [found] = json.loads(self.docker("network", "inspect", network))
        return dict(found)

    def import_image(self, image: Path) -> None:
        """Have the image of busybox and iperf3."""
        changes = ["--change", f"CMD {json.dumps(WAITING)}", "--change", "ENV PATH=/bin"]
        self.docker("import", *changes, str(image), IMAGE)

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self._holder.pid}", "--mount", "--uts", *command]


@contextmanager
def docker_hosts(
    hosts: int = 2, *, engine: tuple[str, ...] = (), settings: str = SETTINGS, vxnet: bool = True
) -> Iterator[tuple[Cluster, list[DockerHost]]]:
    """A bed of hosts that each have vxnet, where that is wanted, and then a dockerd."""
    with Bed(hosts) as bed, ExitStack() as stack:
        image = _image(bed.directory)
        cluster = Cluster(bed, settings=settings)
        places = []
        for host in bed.hosts:
            place = DockerHost(host, host.vtep4)
            stack.callback(place.close)
            places.append(place)
        cluster.daemons[:] = places
        if vxnet:
            cluster.start()
            cluster.wait_for_members()
        for place in places:
            place.start_engine(*engine)
            place.import_image(image)
        yield cluster, places


def left_on(host: DockerHost) -> list[str]:
    """What there is of vxnet on a host."""
    links = json.loads(host.host.run(["ip", "-json", "link"]).stdout)
    tables = host.host.run(["nft", "list", "tables"]).stdout.splitlines()
    return [
        *(link["ifname"] for link in links if link["ifname"].startswith("vx")),
        *(line for line in tables if "vxnet" in line),
        *(line for line in dockers_filter(host) if '"vx' in line or " vx" in line),
        *(network.name for network in host.networks()),
        *(endpoint.name for endpoint in host.client.endpoints()),
    ]


def dockers_filter(host: DockerHost) -> list[str]:
    """The packet filter that Docker fills, as iptables shows it; it has to be able to."""
    return host.host.run(["iptables", "-S"]).stdout.splitlines()


def _image(directory: Path) -> Path:
    """A tree of busybox and the programs that tests start, as `docker import` takes it."""
    tree = directory / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "tmp").mkdir()
    shutil.copy2(Path("/bin/busybox").resolve(), tree / "bin" / "busybox")
    subprocess.run(["chroot", tree, "/bin/busybox", "--install", "-s", "/bin"], check=True)
    for name in PROGRAMS:
        path = shutil.which(name)
        assert path is not None
        shutil.copy2(path, tree / "bin" / name)
        listed = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
        for word in listed.split():
            if os.path.isabs(word):
                target = tree / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(word).resolve(), target)
    image = directory / "image.tar"
    with tarfile.open(image, "w") as tar:
        tar.add(tree, ".")
    shutil.rmtree(tree)
    return image
