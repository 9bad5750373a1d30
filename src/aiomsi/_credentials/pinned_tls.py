"""TLS of token endpoints: to a server with a known thumbprint, or with a trusted certificate.

The comparison of the thumbprint is a part of the handshake, so that the client sends nothing before
it: asyncio and uvloop both call `do_handshake` of the context's `sslobject_class`, and send data
only after that method has returned. (`aiohttp.Fingerprint` refuses SHA-1, and compares after the
handshake.)

Source: https://docs.python.org/3/library/ssl.html#ssl.SSLContext.sslobject_class
"""

import contextlib
import hashlib
import hmac
import os
import ssl
from functools import lru_cache
from typing import Self

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The variables in which OpenSSL finds other certificate authorities than the system's."""


def make_context(thumbprint: str | None) -> ssl.SSLContext:
    """Return the TLS context of a request.

    aiohttp's default context has the authorities that were trusted when aiohttp was imported. This
    one also has those of a variable that was set later, for example by the tests of an application.
    """
    if thumbprint is not None:
        return PinnedContext(thumbprint)
    return _make_trusting_context(*(os.environ.get(name) for name in _TRUST))


@lru_cache(maxsize=4)
def _make_trusting_context(*_: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslobject_class = _Object
    return context


class _Object(ssl.SSLObject):
    """A connection that ends without waiting for the peer.

    Otherwise a peer that does not respond would keep the socket open for 30 s, and beyond the end
    of the event loop.
    """

    def unwrap(self) -> None:
        # The end is in the outgoing buffer when the error is raised.
        with contextlib.suppress(ssl.SSLWantReadError):
            super().unwrap()


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
        # Not every build of OpenSSL has this as its default.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A renegotiation of TLS 1.2 could replace the certificate after the comparison.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.sslobject_class = _PinnedObject
        context.thumbprint = thumbprint.lower()
        return context

    def __init__(self, thumbprint: str) -> None:  # noqa: ARG002 (that of `__new__`)
        super().__init__()


class _PinnedObject(_Object):
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
