"""One sender's cipher under one key: AES-256-GCM, or ChaCha20-Poly1305 (RFC 5116, RFC 8439)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vxnet.errors import WireError

__all__ = ["Cipher"]


class Cipher:
    """The cipher that HKDF-SHA256 (RFC 5869) derives from a cluster's key for one sender."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes, info: bytes, *, chacha: bool) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
        self._aead = ChaCha20Poly1305(derived) if chacha else AESGCM(derived)

    def seal(self, counter: int, body: bytes, header: bytes) -> bytes:
        """The body encrypted, and authenticated with its header. No counter may come twice."""
        return self._aead.encrypt(_nonce(counter), body, header)

    def open(self, counter: int, sealed: bytes, header: bytes) -> bytes:
        """The body. Raises WireError where this key did not seal exactly this."""
        try:
            return self._aead.decrypt(_nonce(counter), sealed, header)
        except InvalidTag:
            raise WireError("damaged, forged or another cluster's") from None


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")
