"""TCP connections, opened and closed: `connect.py accept` and `connect.py open ADDRESS`.

Each connection carries one byte each way, so it takes three exchanges of packets and counts only
when data passed. It ends with a reset: none is left in TIME_WAIT, and ports never run out.
"""

import argparse
import json
import selectors
import socket
import struct
import sys
import time

PORT = 5303
ABRUPT = struct.pack("ii", 1, 0)
IN_FLIGHT = 16
GIVE_UP_S = 5.0


def accept(listener: socket.socket) -> None:
    """Answer one byte on every connection, for ever."""
    selector = selectors.DefaultSelector()
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    continue
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, connection)
                continue
            connection = key.data
            try:
                byte = connection.recv(1)
                if byte:
                    connection.send(byte)
                    continue
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was reset before, or right after, its byte was read
            selector.unregister(connection)
            connection.close()


def start(address: str, selector: selectors.BaseSelector) -> None:
    """Begin to connect."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
    sock.connect_ex((address, PORT))
    selector.register(sock, selectors.EVENT_WRITE, sock)


def keep_opening(address: str, seconds: float) -> dict[str, float]:
    """Have sixteen connections under way at any time, until the time is over."""
    selector = selectors.DefaultSelector()
    for _ in range(IN_FLIGHT):
        start(address, selector)
    done = failed = 0
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        ready = selector.select(GIVE_UP_S)
        if not ready:
            break
        for key, events in ready:
            sock = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    sock.send(b"?")
                    selector.modify(sock, selectors.EVENT_READ, sock)
                    continue
                sock.recv(1)
                done += 1
            except OSError:
                failed += 1
            selector.unregister(sock)
            sock.close()
            start(address, selector)
    return {"done": done, "failed": failed, "seconds": now - begin}


def main() -> int:
    """Read the command line and play the part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("accept")
    opener = parts.add_parser("open")
    opener.add_argument("address")
    opener.add_argument("--seconds", type=float, default=2.0)
    words = parser.parse_args()
    if words.part == "open":
        print(json.dumps(keep_opening(words.address, words.seconds)))
        return 0
    with socket.create_server(("", PORT), backlog=512) as listener:
        print("ready", flush=True)
        accept(listener)
    return 0


if __name__ == "__main__":
    sys.exit(main())
