"""A customer of the demo's service: asks again and again, and tells how each request went.

Run as `python -m vxnet.demo.customer NAME PORT THREADS [COUNT]` in its sandbox, with a
`resolv.conf` of its own. Each request resolves the name and has a connection of its own; none is
tried twice. Ends after COUNT requests of each thread, or when it gets SIGTERM, with those under way
answered.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Final

__all__ = ["Customer"]

PATIENCE_S: Final = 30.0


class Customer:
    """Asks in several threads."""

    def __init__(self, name: str, port: int) -> None:
        self.is_over = threading.Event()
        self._name = name
        self._port = port

    def run(self, number: int, count: int) -> None:
        """One thread's requests, one after the other."""
        while not self.is_over.is_set() and count:
            count -= 1
            story = self.ask(number)
            os.write(1, json.dumps(story).encode() + b"\n")
            if "error" in story:
                time.sleep(0.1)

    def ask(self, number: int) -> dict[str, object]:
        """One request, as it went."""
        story: dict[str, object] = {"begun": time.monotonic()}
        try:
            found = socket.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM)
            family, kind, _, _, address = found[number % len(found)]
            with socket.socket(family, kind) as made:
                made.settimeout(PATIENCE_S)
                made.connect(address)
                story["port"] = made.getsockname()[1]
                made.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
                answer = b""
                while more := made.recv(4096):
                    answer += more
            member, client = answer.partition(b"\r\n\r\n")[2].decode().split()
            story |= {"member": member, "client": client}
        except (OSError, ValueError) as error:
            story["error"] = str(error) or type(error).__name__
        story["ended"] = time.monotonic()
        return story


if __name__ == "__main__":
    customer = Customer(sys.argv[1], int(sys.argv[2]))
    signal.signal(signal.SIGTERM, lambda *_: customer.is_over.set())
    most = int(sys.argv[4]) if len(sys.argv) > 4 else -1
    threads = [
        threading.Thread(target=customer.run, args=(number, most))
        for number in range(int(sys.argv[3]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
