"""A member of the demo's service: a web server that answers with its name and whom it sees.

Run as `python -m vxnet.demo.member NAME PORT` in its sandbox. Each connection is told on standard
output: when (the machine's monotonic clock), and the client's address and port; of those with a
PROXY header, those that it tells.
"""

import ipaddress
import os
import socket
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from vxnet.wire.proxy_protocol import SIGNATURE

__all__ = ["Server"]

WORK_S: Final = 0.03
"""How long an answer takes, so that some are under way whenever something is killed."""
HEAD_BYTES: Final = 16
"""Of a PROXY header, before the addresses (haproxy's proxy-protocol.txt, section 2.2)."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.client, port = _plain(self.client_address[0]), self.client_address[1]
        begin = self.connection.recv(len(SIGNATURE), socket.MSG_PEEK | socket.MSG_WAITALL)
        if begin == SIGNATURE:
            head = self.rfile.read(HEAD_BYTES)
            told = self.rfile.read(struct.unpack_from("!H", head, 14)[0])
            size = 4 if head[13] >> 4 == 1 else 16
            self.client = _plain(str(ipaddress.ip_address(told[:size])))
            (port,) = struct.unpack_from("!H", told, 2 * size)
        if begin:
            os.write(1, f"{time.monotonic()} {self.client} {port}\n".encode())

    def do_GET(self) -> None:
        time.sleep(0.0 if self.path == "/health" else WORK_S)
        body = f"{NAME} {self.client}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """For both versions of IP."""

    address_family = socket.AF_INET6
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


if __name__ == "__main__":
    NAME = sys.argv[1]
    Server(("::", int(sys.argv[2])), Handler).serve_forever()
