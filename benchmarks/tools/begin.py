"""TCP connections begun at a steady rate: `begin.py ADDRESS PORT --rate N --seconds S`.

One SYN each, from a port of its own, through a raw socket. This host's kernel knows nothing of
them, so it resets what is answered: three packets a connection, with little work for the host.
"""

import argparse
import json
import socket
import struct
import time

FIRST_PORT = 2_000
PORTS = 60_000
SYN, SYN_ACK = 0x02, 0x12
HEADER = struct.Struct("!HHIIBBHHH")
TURN_S = 0.002
LAST_S = 0.5  # for answers to the last ones


def folded(octets: bytes) -> int:
    """Their sum in ones' complement."""
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def segments(source: str, target: str, port: int) -> list[bytes]:
    """A SYN from each port."""
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    fixed = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, HEADER.size)
    made = []
    for own in range(FIRST_PORT, FIRST_PORT + PORTS):
        header = HEADER.pack(own, port, own, 0, 5 << 4, SYN, 64_240, 0, 0)
        checksum = 0xFFFF - folded(fixed + header)
        made.append(header[:16] + struct.pack("!H", checksum) + header[18:])
    return made


def begin(address: str, port: int, rate: float, seconds: float) -> dict[str, float]:
    """Begin connections, and count the answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))
        source = probe.getsockname()[0]
    waiting = segments(source, address, port)
    answered = sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_388_608)
        raw.setblocking(False)
        started = time.perf_counter()
        end = started + seconds
        while (now := time.perf_counter()) < end + LAST_S:
            due = min(int((min(now, end) - started) * rate), PORTS)
            for segment in waiting[sent:due]:
                raw.sendto(segment, (address, 0))
            sent = max(sent, due)
            try:
                while True:
                    packet = raw.recv(128)
                    answered += packet[(packet[0] & 15) * 4 + 13] == SYN_ACK
            except BlockingIOError:
                time.sleep(TURN_S)
    return {"begun": sent, "answered": answered, "seconds": seconds}


def main() -> None:
    """Read the command line, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, default=10_000.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    words = parser.parse_args()
    print(json.dumps(begin(words.address, words.port, words.rate, words.seconds)))


if __name__ == "__main__":
    main()
