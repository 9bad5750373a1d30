"""TLS to a server that its certificate's thumbprint identifies, not a certificate authority.

The comparison is a part of the handshake, so that the client sends nothing before it: asyncio and
uvloop both call `do_handshake` of the context's `sslobject_class`, and send data only after that
method has returned. (`aiohttp.Fingerprint` refuses SHA-1, and compares after the handshake.)

Source: https://docs.python.org/3/library/ssl.html#ssl.SSLContext.sslobject_class
"""

import hashlib
import hmac
import ssl
from typing import Self


class WrongCertificateError(ssl.SSLCertVerificationError):
    """The server's certificate is not the one with the expected thumbprint."""


class PinnedContext(ssl.SSLContext):
    """A context for connections to the server whose certificate has a known thumbprint.

    Attributes:
        thumbprint: the SHA-1 of the certificate's DER encoding, in lower-case hex.

    """

    thumbprint: str

    def __new__(cls, thumbprint: str) -> Self:
        """Create a context that checks no authority and no host name."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # A renegotiation of TLS 1.2 could replace the certificate after the comparison.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.sslobject_class = _PinnedObject
        context.thumbprint = thumbprint.lower()
        return context

    def __init__(self, thumbprint: str) -> None:  # noqa: ARG002 (that of `__new__`)
        super().__init__()


class _PinnedObject(ssl.SSLObject):
    """A connection whose handshake fails if the server's certificate is another one."""

    def do_handshake(self) -> None:
        super().do_handshake()
        context = self.context
        certificate = self.getpeercert(binary_form=True)
        if not isinstance(context, PinnedContext) or not _matches(certificate, context.thumbprint):
            msg = "the server's certificate does not have the expected thumbprint"
            raise WrongCertificateError(msg)


def _matches(certificate: bytes | None, thumbprint: str) -> bool:
    # Service Fabric names SHA-1. FIPS mode permits it, if it is not used for security.
    found = hashlib.sha1(certificate or b"", usedforsecurity=False).hexdigest()
    return certificate is not None and hmac.compare_digest(found.encode(), thumbprint.encode())
