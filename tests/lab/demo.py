"""`scripts/vm-demo`: vxnet on whole machines, from the installation to a machine that is gone.

Each is a VM with Debian and systemd, provisioned by scripts/install with the unit that is shipped.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.lab.command import LabError, run
from tests.lab.debian import ROOT
from tests.lab.disk import boot_files, disk, pack
from tests.lab.package import wheel
from tests.lab.qemu import accelerator
from tests.lab.segment import Segment
from tests.lab.vm import Vm
from vxnet.errors import VxnetError

__all__ = ["main"]

UNDERLAY: Final = "192.0.2"
INSIDE: Final = "10.9.0"
SOON_S: Final = 240.0
"""Emulated, a daemon takes half a minute to start, and more beside others."""
CGROUP: Final = "/sys/fs/cgroup/system.slice/vxnet.service"
KEY: Final = "/var/lib/vxnet/gossip.key"
BYTES: Final = 4 << 20

LISTEN: Final = f"""
import hashlib, socket
with socket.create_server(("{INSIDE}.2", 5000)) as server:
    server.settimeout(60)
    stream, _ = server.accept()
    digest = hashlib.sha256()
    while data := stream.recv(1 << 16):
        digest.update(data)
    stream.sendall(digest.hexdigest().encode())
"""
SEND: Final = f"""
import hashlib, os, socket, sys, time
data = os.urandom({BYTES})
for _ in range(100):
    try:
        stream = socket.create_connection(("{INSIDE}.2", 5000), 30)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
began = time.monotonic()
stream.sendall(data)
stream.shutdown(socket.SHUT_WR)
answer = stream.recv(64).decode()
print(f"{{len(data) * 8 / (time.monotonic() - began) / 1e6:.1f}}")
sys.exit(answer != hashlib.sha256(data).hexdigest())
"""


class Transcript:
    """What was tried and what was seen, for people as it happens and for programs at the end."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._began = time.monotonic()
        self.checks: list[dict[str, Any]] = []

    def tell(self, text: str) -> None:
        """A line of progress."""
        if not self._quiet:
            print(f"{time.monotonic() - self._began:6.1f} s       {text}", flush=True)

    def check(self, title: str, look: Callable[[], str]) -> None:
        """Make a check; what it returns was seen, what it raises is why it did not hold."""
        began = time.monotonic()
        try:
            seen, ok = look(), True
        except LabError as error:
            seen, ok = str(error), False
        now = time.monotonic()
        self.checks.append(
            {"check": title, "ok": ok, "seen": seen, "seconds": round(now - began, 1)}
        )
        if not self._quiet:
            mark = "ok  " if ok else "FAIL"
            print(f"{now - self._began:6.1f} s {mark}  {title}: {seen}", flush=True)

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return bool(self.checks) and all(check["ok"] for check in self.checks)

    def to_json(self) -> str:
        """One document."""
        seconds = round(time.monotonic() - self._began, 1)
        return json.dumps(
            {
                "ok": self.ok,
                "accelerator": accelerator(),
                "seconds": seconds,
                "checks": self.checks,
            },
            indent=2,
        )


class Show:
    """The machines, and what is asked of them."""

    def __init__(self, machines: list[Vm], transcript: Transcript) -> None:
        self._machines = machines
        self._transcript = transcript

    def run(self) -> None:
        """Every check in turn; those that build on one that failed are left out."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("machines boot, systemd and all", self._boot),
            ("scripts/install provisions each", self._install),
            ("systemd runs vxnet from the shipped unit", self._unit),
            ("the hosts find each other", self._peers),
            ("a network of one host is there on all, an endpoint on each", self._attach),
            ("ping", self._ping),
            ("a TCP stream arrives intact", self._tcp),
            ("systemctl restart: the next daemon takes everything up", self._restart),
            ("kill -9: systemd starts the daemon again, and traffic flows", self._kill),
            ("the unit's device policy holds", self._devices),
            ("the unit's memory limit holds, and systemd puts things right", self._memory),
            ("a machine is switched off: its entries go", self._switch_off),
        ]
        for title, look in steps:
            self._transcript.check(title, look)
            if not self._transcript.checks[-1]["ok"]:
                return

    def _each(self, work: Callable[[int, Vm], str]) -> list[str]:
        with ThreadPoolExecutor(len(self._machines)) as pool:
            try:
                return list(pool.map(work, range(1, len(self._machines) + 1), self._machines))
            except (KeyboardInterrupt, SystemExit):
                # Who waits for a machine waits no longer, and the pool can end.
                for vm in self._machines:
                    vm.switch_off()
                raise

    def _boot(self) -> str:
        def boot(number: int, vm: Vm) -> str:
            vm.wait_until_up()
            vm.run(f"ip link set eth0 up && ip address add {UNDERLAY}.{number}/24 dev eth0")
            vm.run("mkdir -p /mnt && mount -o ro /dev/vdb /mnt")
            return vm.run("uname -r").out.strip()

        versions = self._each(boot)
        return f"{len(versions)} machines, Linux {versions[0]}, {accelerator()}"

    def _install(self) -> str:
        first = self._machines[0]
        self._install_on(1, first, "")
        key = first.run(f"cat {KEY}").out

        def join(number: int, vm: Vm) -> str:
            if vm is not first:
                vm.write("/run/key", key)
                self._install_on(number, vm, f"--key /run/key --seed {UNDERLAY}.1")
            return ""

        self._each(join)
        return f"a key made on {first.name}, the others joined with it"

    def _install_on(self, number: int, vm: Vm, more: str) -> None:
        done = vm.run(
            f"/mnt/scripts/install --wheels /mnt/wheels --name {vm.name} "
            f"--vtep {UNDERLAY}.{number} {more}",
            timeout_s=400.0,
        )
        for line in done.out.splitlines():
            self._transcript.tell(f"{vm.name}: {line}")

    def _unit(self) -> str:
        for vm in self._machines:
            vm.run("systemctl is-active vxnet.service")
        first = self._machines[0]
        user = first.run("stat -c %U /proc/$(systemctl show -P MainPID vxnet)").out.strip()
        if user != "vxnet":
            raise LabError(f"the daemon runs as {user}, not as vxnet")
        status = first.run("systemctl show -P StatusText vxnet.service").out.strip()
        return f"active on each, as user vxnet; it says: {status}"

    def _peers(self) -> str:
        took = [
            vm.wait_for(partial(self._sees_all, vm), SOON_S, "all hosts are alive")
            for vm in self._machines
        ]
        return f"all alive everywhere, {max(took):.1f} s after the last installation"

    def _sees_all(self, vm: Vm) -> bool:
        peers = json.loads(vm.run("vxnet peers --json", check=False).out or "[]")
        alive = [peer for peer in peers if peer["state"] == "alive"]
        return len(alive) == len(self._machines)

    def _attach(self) -> str:
        self._machines[0].run(f"vxnet network create blue --subnet {INSIDE}.0/24")

        def attach(number: int, vm: Vm) -> str:
            vm.wait_for(
                lambda: vm.run("vxnet network inspect blue", check=False).status == 0,
                SOON_S,
                "the network is known",
            )
            vm.run("ip netns add box")
            vm.run(f"vxnet attach blue --netns box --ip {INSIDE}.{number}")
            return ""

        self._each(attach)
        return f"blue, {INSIDE}.1 to {INSIDE}.{len(self._machines)}"

    def _ping(self) -> str:
        for own, vm in enumerate(self._machines, start=1):
            for number in set(range(1, len(self._machines) + 1)) - {own}:
                reaches = partial(self._reaches, vm, number)
                vm.wait_for(reaches, SOON_S, f"{INSIDE}.{number} answers")
        summary = self._machines[0].run(f"ip netns exec box ping -q -c 5 -i 0.2 {INSIDE}.2").out
        return "all reach all; " + summary.strip().splitlines()[-1]

    def _reaches(self, vm: Vm, number: int) -> bool:
        command = f"ip netns exec box ping -q -c 1 -W 2 {INSIDE}.{number}"
        return vm.run(command, check=False).status == 0

    def _tcp(self) -> str:
        one, other = self._machines[:2]
        other.write("/run/listen.py", LISTEN)
        one.write("/run/send.py", SEND)
        with ThreadPoolExecutor(1) as pool:
            listening = pool.submit(other.run, "ip netns exec box python3 /run/listen.py")
            rate = one.run("ip netns exec box python3 /run/send.py").out.strip()
            listening.result()
        return f"{BYTES >> 20} MiB, its digest is the same, {rate} Mbit/s"

    def _restart(self) -> str:
        vm = self._machines[1]
        before = vm.run("ip -n box -o link show eth0").out
        vm.run("systemctl restart vxnet.service")
        took = self._wait_for_traffic()
        if vm.run("ip -n box -o link show eth0").out != before:
            raise LabError("the device in the sandbox is another one now")
        return f"the same device, traffic flows {took:.1f} s after"

    def _kill(self) -> str:
        vm = self._machines[1]
        pid = vm.run("systemctl show -P MainPID vxnet.service").out.strip()
        vm.run("systemctl kill --signal=KILL --kill-whom=main vxnet.service")
        self._wait_for_another(vm, pid)
        took = self._wait_for_traffic()
        restarts = vm.run("systemctl show -P NRestarts vxnet.service").out.strip()
        return f"{restarts} restart counted, traffic flows {took:.1f} s after"

    def _devices(self) -> str:
        vm = self._machines[0]
        script = f"echo $$ >{CGROUP}/cgroup.procs && exec head -c 1 %s >/dev/null"
        for device in ("/dev/vda", "/dev/kmsg"):
            if (done := vm.run(script % device, check=False)).status == 0:
                raise LabError(f"{device} can be read from inside the unit")
            if "Operation not permitted" not in done.err:
                raise LabError(f"{device} is refused for another reason: {done.err.strip()}")
        allowed = vm.run(f"echo $$ >{CGROUP}/cgroup.procs && exec 3<>/dev/net/tun && echo opened")
        if allowed.out.strip() != "opened":
            raise LabError("/dev/net/tun cannot be opened from inside the unit")
        return "root inside it opens /dev/net/tun, and neither /dev/vda nor /dev/kmsg"

    def _memory(self) -> str:
        vm = self._machines[0]
        shipped = vm.run(f"cat {CGROUP}/memory.max").out.strip()
        vm.run("systemctl set-property --runtime vxnet.service MemoryMax=192M")
        hog = "python3 -c 'x = bytearray(400 << 20)'"
        done = vm.run(f"echo $$ >{CGROUP}/cgroup.procs && exec {hog}", check=False)
        if done.status == 0:
            raise LabError("400 MiB were taken under a limit of 192 MiB")
        self._wait_for_another(vm, "")
        took = self._wait_for_traffic()
        return (
            f"shipped as {int(shipped) >> 20} MiB; lowered to 192, whoever takes 400 is killed "
            f"(status {done.status}), traffic flows {took:.1f} s after"
        )

    def _switch_off(self) -> str:
        gone, left = self._machines[-1], self._machines[0]
        number = len(self._machines)

        def knows() -> bool:
            rows = json.loads(left.run("vxnet fdb --json").out)
            return any(f"{INSIDE}.{number}" in row["ips"] for row in rows)

        if not knows():
            raise LabError(f"{left.name} does not know {INSIDE}.{number} to begin with")
        gone.switch_off()
        took = left.wait_for(lambda: not knows(), SOON_S, f"{INSIDE}.{number} is forgotten")
        return f"{gone.name} is off, and forgotten on {left.name} after {took:.1f} s"

    def _wait_for_another(self, vm: Vm, pid: str) -> None:
        """Until a daemon runs that is not this one."""

        def runs() -> bool:
            state = vm.run("systemctl is-active vxnet.service", check=False).out.strip()
            now = vm.run("systemctl show -P MainPID vxnet.service").out.strip()
            return state == "active" and now not in ("0", pid)

        try:
            vm.wait_for(runs, SOON_S, "another daemon runs")
        except LabError as error:
            log = vm.run("journalctl --no-pager --output short -n 15 -u vxnet.service").out
            raise LabError(f"{error}; the journal says: {log}") from None

    def _wait_for_traffic(self) -> float:
        one = self._machines[0]
        return one.wait_for(lambda: self._reaches(one, 2), SOON_S, f"{INSIDE}.2 answers")


def main() -> int:
    """The command: 0 where every check held, 1 where one did not."""
    parser = argparse.ArgumentParser(prog="scripts/vm-demo", description=(__doc__ or "").strip())
    parser.add_argument("--hosts", type=int, choices=(2, 3), default=2, help="how many (2)")
    parser.add_argument("--json", action="store_true", help="one JSON document, no progress")
    options = parser.parse_args()
    transcript = Transcript(quiet=options.json)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        _present(options.hosts, transcript)
    except (LabError, VxnetError) as error:
        print(f"vm-demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vm-demo: interrupted; everything is gone again", file=sys.stderr)
        return 130
    if options.json:
        print(transcript.to_json())
    else:
        held = sum(check["ok"] for check in transcript.checks)
        transcript.tell(f"{held} of {len(transcript.checks)} checks held; nothing is left behind")
    return 0 if transcript.ok else 1


def _present(hosts: int, transcript: Transcript) -> None:
    transcript.tell("making Debian, kernel and disk; the first time this takes a minute or two")
    disk()
    boot_files()
    transcript.tell("packing vxnet")
    names = [f"vm-{letter}" for letter in "abc"[:hosts]]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-demo-")))
        segment = stack.enter_context(Segment(names))
        machines = [
            stack.enter_context(
                Vm(
                    name,
                    nics=[segment.port(name)],
                    disks=[_payload(folder)],
                    entered=segment.entered,
                )
            )
            for name in names
        ]
        Show(machines, transcript).run()


def _payload(folder: Path) -> Path:
    """A disk with what scripts/install needs: itself, deploy/, and the wheel."""
    image = folder / "payload"
    if not image.exists():
        content = folder / "content"
        content.mkdir()
        for name in ("scripts", "deploy"):
            shutil.copytree(ROOT / name, content / name)
        shutil.copy(ROOT / "pyproject.toml", content)
        run("cp", "-r", wheel(), content / "wheels")
        pack(content, image, "64M")
    return image
