"""Round trips of a small UDP message, each timed: `pingpong.py echo` and `pingpong.py ask ADDRESS`.

The asker prints one JSON document: how many round trips, how many were lost, and the quantiles in
microseconds. Python adds some ten microseconds to each, the same for every peer.
"""

import argparse
import json
import socket
import sys
import time

PORT = 5301
MESSAGE = bytes(64)
WARM_UP = 200
GIVE_UP_S = 0.25


def echo(sock: socket.socket) -> None:
    """Answer for ever."""
    while True:
        message, sender = sock.recvfrom(2048)
        sock.sendto(message, sender)


def ask(sock: socket.socket, address: str, seconds: float) -> dict[str, float]:
    """Ask until the time is over."""
    sock.connect((address, PORT))
    sock.settimeout(GIVE_UP_S)
    times_ns: list[int] = []
    lost = number = 0
    message = bytearray(MESSAGE)
    clock = time.perf_counter_ns
    deadline = clock() + int(seconds * 1e9)
    while (start := clock()) < deadline:
        number += 1
        message[:8] = number.to_bytes(8, "big")
        try:
            sock.send(message)
            # An answer that comes after it was given up must not answer the next question.
            while sock.recv(2048)[:8] != message[:8]:
                continue
        except (TimeoutError, ConnectionRefusedError):
            lost += 1
            continue
        times_ns.append(clock() - start)
    return {"lost": lost, **quantiles(times_ns[min(WARM_UP, len(times_ns) // 2) :])}


def quantiles(times_ns: list[int]) -> dict[str, float]:
    """What the report shows of a list of times."""
    ordered = sorted(times_ns)
    if not ordered:
        return {"count": 0}

    def at(share: float) -> float:
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1000

    return {
        "count": len(ordered),
        "p50": at(0.5),
        "p99": at(0.99),
        "p99.9": at(0.999),
        "max": at(1.0),
    }


def main() -> int:
    """Read the command line and play the part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("echo")
    asker = parts.add_parser("ask")
    asker.add_argument("address")
    asker.add_argument("--seconds", type=float, default=2.0)
    words = parser.parse_args()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if words.part == "ask":
            print(json.dumps(ask(sock, words.address, words.seconds)))
            return 0
        sock.bind(("", PORT))
        print("ready", flush=True)
        echo(sock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
