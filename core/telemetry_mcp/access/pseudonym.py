"""Names that stand for others: hashes, the same for every caller, and pseudonyms, each caller's own, from which
this server, and nobody else, gets the text back."""

from __future__ import annotations

import hmac
from base64 import b32decode, b32encode
from binascii import Error as Base32Error
from hashlib import sha256, sha512

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

MOST_BYTES = 80
"""Of a text that becomes a pseudonym; what is longer is cut, so that the pseudonym is whole in an answer."""
HASH_BYTES = 10
HASH, PSEUDONYM = "h~", "p~"


class Pseudonyms:
    """Those of one caller. Deterministic: equal texts have equal pseudonyms, today and on every instance that has
    the same secret."""

    def __init__(self, secret: str, subject: str) -> None:
        self.secret = secret.encode()
        self.subject = subject.encode()
        self.cipher = AESSIV(sha512(b"telemetry-mcp pseudonyms\0" + self.secret).digest())

    def hashed(self, text: str) -> str:
        """The same for all callers, and for good."""
        key = sha256(b"telemetry-mcp hashes\0" + self.secret).digest()
        return HASH + written(hmac.digest(key, text.encode(errors="replace"), "sha256")[:HASH_BYTES])

    def sealed(self, text: str) -> str:
        if text.startswith(PSEUDONYM) and self.opened(text) is not None:
            return text
        short = text.encode(errors="replace")[:MOST_BYTES]
        return PSEUDONYM + written(self.cipher.encrypt(short, [self.subject]))

    def opened(self, token: str) -> str | None:
        """The text of a pseudonym of this caller; None for one of another caller's, and for anything else."""
        if not token.startswith(PSEUDONYM):
            return None
        try:
            return self.cipher.decrypt(read(token[len(PSEUDONYM) :]), [self.subject]).decode(errors="ignore")
        except (Base32Error, InvalidTag, ValueError):
            return None


def written(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()


def read(text: str) -> bytes:
    return b32decode(text.upper() + "=" * (-len(text) % 8))
