"""Certificates for the embedded services that speak https."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aiomsi.testing._state.tokens import MissingExtraError

if TYPE_CHECKING:
    from trustme import CA

PemFiles = tuple[str | Path, str | Path]
"""The files with a certificate (or a chain) and with its private key, as PEM."""


class Certificates:
    """A server certificate, and the certificate authority that clients trust.

    Args:
        names: host names and addresses of a new certificate.
        certificate: a given certificate, in place of a new one; clients trust the last certificate
            of its file.
        authority: a given authority that signs the new certificate, in place of a new one.

    Raises:
        MissingExtraError: trustme isn't installed.
        OSError: a file can't be read.
        ValueError: both `certificate` and `authority` are given, or a file is not PEM.

    """

    def __init__(
        self,
        names: Iterable[str],
        certificate: PemFiles | None = None,
        authority: PemFiles | None = None,
    ) -> None:
        self.server_context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._file = Path()
        if certificate is not None and authority is not None:
            msg = "certificate and authority exclude each other"
            raise ValueError(msg)
        if certificate is None:
            self.ca_pem: bytes = self._issue(names, authority)
            return
        chain, key = certificate
        self.ca_pem = _read_last_certificate(Path(chain))
        _load(self.server_context, chain, key)

    def _issue(self, names: Iterable[str], files: PemFiles | None) -> bytes:
        try:
            import trustme
        except ImportError as error:
            raise MissingExtraError("trustme") from error
        authority = trustme.CA() if files is None else _read_authority(trustme.CA, *files)
        authority.issue_cert(*dict.fromkeys(names)).configure_cert(self.server_context)
        return authority.cert_pem.bytes()

    def write(self, directory: Path) -> None:
        """Write the authority's certificate to a file of the directory."""
        self._file = directory / "ca.pem"
        self._file.write_bytes(self.ca_pem)

    @property
    def file(self) -> Path:
        """The file with the authority's certificate, while the embedded Azure runs."""
        return self._file

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that make Python's and Node's clients trust the authority."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, str(self._file))

    def client_context(self) -> ssl.SSLContext:
        """Create a client's TLS context that trusts this authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.ca_pem.decode())
        return context


class SelfSigned:
    """A self-signed certificate, known by its thumbprint.

    Args:
        names: host names and addresses of the certificate.

    """

    def __init__(self, names: Iterable[str]) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        owner = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "embedded cluster")])
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)
            for name in dict.fromkeys(names)
        ]
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(owner, owner, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.thumbprint: str = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
        self.server_context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:  # ssl reads certificates from files alone
            file = Path(folder, "server.pem")
            file.write_bytes(pem)
            self.server_context.load_cert_chain(file)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _read_last_certificate(file: Path) -> bytes:
    """Return the last certificate of a PEM file.

    Raises:
        ValueError: the file has no certificate.

    """
    begin = b"-----BEGIN CERTIFICATE-----"
    _, found, last = file.read_bytes().rpartition(begin)
    if not found:
        msg = f"{str(file)!r} has no certificate in PEM"
        raise ValueError(msg)
    end = b"-----END CERTIFICATE-----"
    return begin + last.partition(end)[0] + end + b"\n"


def _read_authority(kind: type[CA], certificate: str | Path, key: str | Path) -> CA:
    try:
        return kind.from_pem(Path(certificate).read_bytes(), Path(key).read_bytes())
    except ValueError as error:
        names = f"{str(certificate)!r} and {str(key)!r}"
        msg = f"{names} are not an authority's certificate and its key: {error}"
        raise ValueError(msg) from error


def _load(context: ssl.SSLContext, chain: str | Path, key: str | Path) -> None:
    try:
        context.load_cert_chain(chain, key)
    except ssl.SSLError as error:
        msg = f"{str(chain)!r} and {str(key)!r} are not a certificate and its key: {error}"
        raise ValueError(msg) from error
