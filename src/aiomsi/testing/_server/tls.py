"""Certificates for the embedded ARM."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from aiomsi.testing._state.tokens import MissingExtraError


class Certificates:
    """A certificate authority for one embedded Azure, and a server certificate that it signed.

    Raises:
        MissingExtraError: trustme isn't installed.

    """

    def __init__(self, names: Iterable[str]) -> None:
        try:
            import trustme
        except ImportError as error:
            raise MissingExtraError("trustme") from error
        authority = trustme.CA()
        self.ca_pem: bytes = authority.cert_pem.bytes()
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*dict.fromkeys(names)).configure_cert(self.server_context)

    def client_context(self) -> ssl.SSLContext:
        """Create a client's TLS context that trusts this authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.ca_pem.decode())
        return context
