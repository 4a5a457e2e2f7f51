"""Plays the part of systemd that a daemon's restart needs: it keeps descriptors for the next one.

As sd_notify(3) and sd_listen_fds(3) have it: FDSTORE=1 with a name keeps what came along,
FDSTOREREMOVE=1 lets go of it, and the next process finds all from descriptor 3 on.
"""

import array
import os
import signal
import socket
import subprocess
import time
from types import TracebackType
from typing import Self

from vxnet.demo.cluster import VXNET, Daemon

FDS_MAX = 64


class ServiceManager:
    """Runs one daemon, as often as it is restarted."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.kept: list[tuple[str, int]] = []
        self.said: list[str] = []
        self._path = daemon.host.directory / "notify.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._let_go()
        self._socket.close()

    def start(self) -> None:
        """Start the daemon with what was kept for it."""
        fds = [fd for _, fd in self.kept]
        names = ":".join(name for name, _ in self.kept)
        # The descriptors are moved to 3 and on in the shell that becomes the daemon.
        moves = " ".join(f"{position}<&{fd}" for position, fd in enumerate(fds, start=3))
        script = f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(fds)} exec "$@"'
        command = ["bash", "-c", script, "daemon", *VXNET, "daemon", "-c", str(self.daemon.config)]
        entered = ["nsenter", f"--net={self.daemon.host.path}", "--", *command]
        with self.daemon.log.open("ab") as log:
            process = subprocess.Popen(
                entered,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=fds,
                env={**os.environ, "NOTIFY_SOCKET": str(self._path), "LISTEN_FDNAMES": names},
            )
        self.daemon.use(process)

    def restart(self) -> float:
        """As `systemctl restart` with RestartKillSignal=SIGUSR1: seconds until it is ready."""
        began = time.monotonic()
        self.daemon.process.send_signal(signal.SIGUSR1)
        assert self.daemon.process.wait(30) == 0
        self.hear()
        self.start()
        self.daemon.wait_until_ready()
        self.hear()
        return time.monotonic() - began

    def stop(self) -> int:
        """As `systemctl stop`: nothing is kept any longer."""
        status = self.daemon.stop()
        self.hear()
        self._let_go()
        return status

    def hear(self) -> None:
        """Do what the daemon asked for meanwhile."""
        while True:
            fds = array.array("i")
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    4096, socket.CMSG_SPACE(FDS_MAX * fds.itemsize)
                )
            except BlockingIOError:
                return
            for _, _, body in ancillary:
                fds.frombytes(body[: len(body) - len(body) % fds.itemsize])
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.said.append(data.decode())
            if fields.get("FDSTORE") == "1":
                self.kept += [(fields["FDNAME"], fd) for fd in fds]
            elif fields.get("FDSTOREREMOVE") == "1":
                self._let_go(fields["FDNAME"])

    def _let_go(self, only: str = "") -> None:
        for name, fd in [one for one in self.kept if only in ("", one[0])]:
            os.close(fd)
            self.kept.remove((name, fd))
