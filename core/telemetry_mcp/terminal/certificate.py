"""A server's certificate, read for a person: whose it is, who signed it, how long it lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from telemetry_mcp.text import clean

SHOWN = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)


@dataclass(frozen=True, slots=True)
class Certificate:
    subject: str
    issuer: str
    hosts: Sequence[str]
    expires: datetime

    @property
    def days_left(self) -> int:
        """Whole days until it expires, negative since."""
        return (self.expires - datetime.now(UTC)).days

    @property
    def words(self) -> str:
        return f"for {self.subject}, signed by {self.issuer}"


def certificate(der: bytes) -> Certificate:
    """Raises ValueError when it cannot be read."""
    read = x509.load_der_x509_certificate(der)
    try:
        named = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        named = x509.SubjectAlternativeName([])
    hosts = [
        *named.get_values_for_type(x509.DNSName),
        *map(str, named.get_values_for_type(x509.IPAddress)),
    ]
    hosts = [clean(host, 80) for host in hosts]
    subject = name(read.subject) or ", ".join(hosts[:3]) or "nobody"
    return Certificate(subject, name(read.issuer) or "nobody", hosts, read.not_valid_after_utc)


def name(of: x509.Name) -> str:
    """The most telling part of a distinguished name."""
    parts = [part for oid in SHOWN for part in of.get_attributes_for_oid(oid)]
    return clean(str(parts[0].value), 80) if parts else ""
