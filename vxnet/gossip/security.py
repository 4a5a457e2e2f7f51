"""Sealing and opening packets: keys, a key for each sender, and what was seen before.

With a keyring every packet is encrypted and authenticated (AES-256-GCM, or ChaCha20-Poly1305
where the processor has no AES), each sender under a key of its own, so that its counter is a
nonce that never comes twice. Without one, a packet carries a checksum over the cluster's name
instead: it keeps clusters and damaged packets apart, and keeps nobody out.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vxnet.errors import StateError, WireError
from vxnet.wire.gossip import HEADER_BYTES, TAG_BYTES, Header, decode_header, encode_header

if TYPE_CHECKING:
    from vxnet.gossip.cipher import Cipher

__all__ = ["KEYS_MAX", "KEY_BYTES", "Keyring", "Security", "key_id"]

KEY_BYTES = 32
KEYS_MAX = 16
SENDERS_MAX = 16_384  # senders whose keys and windows are kept, the least recent given up first
WINDOW = 1024
COUNTER_MAX = 2**48 - 1

CipherName = tuple[int, bytes, int]  # ChaCha or not, key id, node id


SEALED = 1
CHACHA = 2
"""The header's flags."""


def key_id(key: bytes) -> bytes:
    """The name of a key, 4 octets; says nothing about the key."""
    return hashlib.blake2b(key, digest_size=4, person=b"vxg1-key-id").digest()


class Keyring:
    """The keys a node accepts. It seals with the first."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys: dict[bytes, bytes] = {}
        for key in keys:
            self.install(key)
        if not self._keys:
            raise StateError("a keyring needs at least one key")
        self._primary = next(iter(self._keys))

    @property
    def primary(self) -> bytes:
        """The id of the key that seals."""
        return self._primary

    @property
    def ids(self) -> tuple[bytes, ...]:
        """The ids of all keys, the one that seals first."""
        return (self._primary, *(kid for kid in self._keys if kid != self._primary))

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys themselves in the same order, to be written where only root reads."""
        return tuple(self._keys[kid] for kid in self.ids)

    def get(self, kid: bytes) -> bytes | None:
        """A key by its id."""
        return self._keys.get(kid)

    def install(self, key: bytes) -> bytes:
        """Accept a key from now on. Raises StateError for one of the wrong length or too many."""
        if len(key) != KEY_BYTES:
            raise StateError(f"a gossip key has {KEY_BYTES} octets, this one has {len(key)}")
        kid = key_id(key)
        if kid not in self._keys and len(self._keys) >= KEYS_MAX:
            raise StateError(f"{KEYS_MAX} keys are installed; remove one that is no longer used")
        self._keys[kid] = key
        return kid

    def use(self, kid: bytes) -> None:
        """Seal with this key. Raises StateError where it is not installed."""
        if kid not in self._keys:
            raise StateError(f"key {kid.hex()} is not installed here; install it first")
        self._primary = kid

    def remove(self, kid: bytes) -> None:
        """Accept a key no longer. Raises StateError for the one that seals."""
        if kid == self._primary:
            raise StateError(f"key {kid.hex()} is in use; use another one first")
        if self._keys.pop(kid, None) is None:
            raise StateError(f"key {kid.hex()} is not installed here")

    def restore(self, keys: Sequence[bytes]) -> None:
        """Have exactly these keys again, the one that seals first."""
        self._keys = {key_id(key): key for key in keys}
        self._primary = key_id(keys[0])


class Window:
    """Which of a sender's last 1,024 counters were seen."""

    __slots__ = ("bits", "top")

    def __init__(self) -> None:
        self.top = -1
        self.bits = 0

    def fresh(self, counter: int) -> bool:
        """Note a counter; False where it was seen, or is too old to know."""
        if counter > self.top:
            shift = counter - self.top
            self.bits = ((self.bits << shift) & ((1 << WINDOW) - 1)) | 1 if shift < WINDOW else 1
            self.top = counter
            return True
        behind = self.top - counter
        if behind >= WINDOW or self.bits >> behind & 1:
            return False
        self.bits |= 1 << behind
        return True


class Security:
    """Seals what one node sends and opens what it gets. `boot` is its epoch when it started."""

    def __init__(
        self, cluster: str, node_id: int, boot: int, keyring: Keyring | None, *, aes: bool = True
    ) -> None:
        self._cluster = cluster.encode()
        name_hash = hashlib.blake2b(self._cluster, digest_size=32).digest()
        self._named = hashlib.blake2b(digest_size=TAG_BYTES, key=name_hash)
        # what a packet in clear begins with, but for its counter
        self._clear = encode_header(Header(0, 0, node_id, boot, 0))[:-6]
        self._node_id = node_id
        self._boot = boot
        self._aes = aes
        self.keyring = keyring
        self._counter = 0
        # Of a sender that started again only the last boot's: each holds 2.5 kB in OpenSSL.
        self._ciphers: OrderedDict[CipherName, tuple[int, Cipher]] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int], Window] = OrderedDict()
        if keyring is not None:
            # What it takes to load the ciphers is taken now, and not from the first packet.
            name = (0 if aes else CHACHA, keyring.primary, node_id)
            self._keep(name, boot, self._derive(*name, boot))

    def seal(self, body: bytes, kid: bytes | None = None) -> bytes:
        """A packet around a body; `kid` names another key than the primary one."""
        self._counter += 1
        if self._counter > COUNTER_MAX:
            raise StateError("this node has sent 2**48 packets; restart it")
        if self.keyring is None:
            data = self._clear + self._counter.to_bytes(6, "big") + body
            return data + self._checksum(data)
        if kid is None or self.keyring.get(kid) is None:
            kid = self.keyring.primary
        flags = SEALED if self._aes else SEALED | CHACHA
        header = encode_header(
            Header(flags, int.from_bytes(kid, "big"), self._node_id, self._boot, self._counter)
        )
        name = (flags & CHACHA, kid, self._node_id)
        cipher = self._cipher(name, self._boot)
        self._keep(name, self._boot, cipher)
        return header + cipher.seal(self._counter, body, header)

    def best_key(self, accepted: Sequence[bytes]) -> bytes | None:
        """The key to seal with for a member that accepts only these; None for the usual one."""
        if self.keyring is None or not accepted or self.keyring.primary in accepted:
            return None
        return next((kid for kid in self.keyring.ids if kid in accepted), None)

    def open(self, data: bytes) -> tuple[Header, bytes]:
        """A packet's header and body. Raises WireError for anything that is not meant for us."""
        header = decode_header(data)
        sealed = bool(header.flags & SEALED)
        if self.keyring is None:
            if sealed:
                raise WireError("an encrypted packet, and this node has no gossip key")
            if not hmac.compare_digest(self._checksum(data[:-TAG_BYTES]), data[-TAG_BYTES:]):
                raise WireError("a damaged packet, or one of another cluster")
            return header, data[HEADER_BYTES:-TAG_BYTES]
        if not sealed:
            raise WireError("a packet in clear, and this node has a gossip key")
        kid = header.key_id.to_bytes(4, "big")
        if self.keyring.get(kid) is None:
            raise WireError(f"a packet under key {kid.hex()}, which is not installed here")
        name = (header.flags & CHACHA, kid, header.node_id)
        cipher = self._cipher(name, header.boot)
        try:
            body = cipher.open(header.counter, data[HEADER_BYTES:], data[:HEADER_BYTES])
        except WireError as error:
            raise WireError(f"a packet that key {kid.hex()} does not open: {error}") from None
        self._keep(name, header.boot, cipher)  # only now: forged packets must not push others out
        return header, body

    def fresh(self, header: Header) -> bool:
        """Whether an opened packet was not seen before. In clear nothing would be gained by it."""
        if self.keyring is None:
            return True
        sender = (header.node_id, header.boot)
        window = self._windows.get(sender)
        if window is None:
            window = self._windows[sender] = Window()
            if len(self._windows) > SENDERS_MAX:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(sender)
        return window.fresh(header.counter)

    def _checksum(self, data: bytes) -> bytes:
        digest = self._named.copy()
        digest.update(data)
        return digest.digest()

    def _cipher(self, name: CipherName, boot: int) -> "Cipher":
        kept = self._ciphers.get(name)
        return kept[1] if kept is not None and kept[0] == boot else self._derive(*name, boot)

    def _keep(self, name: CipherName, boot: int, cipher: "Cipher") -> None:
        kept = self._ciphers.get(name)
        if kept is None or kept[0] < boot:
            self._ciphers[name] = (boot, cipher)
        self._ciphers.move_to_end(name)
        if len(self._ciphers) > SENDERS_MAX:
            self._ciphers.popitem(last=False)

    def _derive(self, chacha: int, kid: bytes, node_id: int, boot: int) -> "Cipher":
        key = self.keyring.get(kid) if self.keyring else None
        if key is None:
            raise StateError(f"key {kid.hex()} is not installed here")
        info = b"".join(
            (
                b"vxg1",
                bytes((chacha,)),
                len(self._cluster).to_bytes(2, "big"),
                self._cluster,
                node_id.to_bytes(8, "big"),
                boot.to_bytes(6, "big"),
            )
        )
        # Here, so that a node without a key does not hold the 6 MB of cryptography's OpenSSL.
        from vxnet.gossip.cipher import Cipher

        return Cipher(key, info, chacha=bool(chacha))
