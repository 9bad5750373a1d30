"""Azure Arc: the agent's endpoint, whose clients prove that they can read a key file.

Source: https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication
"""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from aiomsi.testing._hosts.embedded_host import (
    GrantRequest,
    RefusedRequestError,
    TokenEndpoint,
    require_metadata,
    require_version,
)
from aiomsi.testing._hosts.imds import make_token_document
from aiomsi.testing._hosts.token_issuer import TokenIssuer
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.messages import Asked
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._state.azure_state import Identity

_KEPT_KEYS = 64
"""The most key files at once; the oldest one is deleted and no longer valid."""


class EmbeddedAzureArc(TokenEndpoint):
    """The token endpoint of the Azure Arc agent.

    Args:
        key_directory: the directory of the key files, which the embedded Azure creates; None for a
            temporary one. Clients accept ``/var/opt/azcmagent/tokens`` alone.

    """

    kind = "azure-arc"
    path = "/metadata/identity/oauth2/token"
    by_parameter: dict[str, str] = {  # noqa: RUF012  # the base class declares it
        "client_id": "client_id",
        "object_id": "object_id",
        "msi_res_id": "resource_id",
    }

    def __init__(
        self,
        context: ServiceContext,
        servers: Servers,
        tokens: TokenIssuer,
        key_directory: Path | None,
    ) -> None:
        super().__init__(context, servers, tokens)
        self._chosen_directory = key_directory
        self._directory = key_directory or Path()
        self._keys: dict[str, Path] = {}
        self._old_agent = False

    @property
    def key_directory(self) -> Path:
        """The directory of the key files."""
        return self._directory

    def ignore_identities(self, ignored: bool = True) -> None:
        """Return the system-assigned identity's token for every request, as an old agent does."""
        self._old_agent = ignored

    def prepare(self, directory: Path) -> None:
        """Create the directory of the key files."""
        self._directory = self._chosen_directory or directory / "tokens"
        self._directory.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Delete all key files; their keys are no longer valid."""
        while self._keys:
            self._drop_key(next(iter(self._keys)))

    def _variables(self) -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": self.token_url, "IMDS_ENDPOINT": self.url}

    def _check(self, asked: Asked) -> None:
        require_metadata(asked)
        require_version(asked, ("2020-06-01", "2019-11-01"))
        scheme, _, key = asked.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and key in self._keys:
            return
        text = "The key of the file that WWW-Authenticate names is required"
        challenge = {"WWW-Authenticate": f"Basic realm={self._write_key()}"}
        raise RefusedRequestError(401, "unauthorized", text, challenge)

    def _write_key(self) -> Path:
        if len(self._keys) >= _KEPT_KEYS:
            self._drop_key(next(iter(self._keys)))
        key = uuid.uuid4().hex
        file = self._directory / f"{uuid.uuid4()}.key"
        file.write_text(key, encoding="ascii")
        file.chmod(0o600)
        self._keys[key] = file
        return file

    def _drop_key(self, key: str) -> None:
        with contextlib.suppress(OSError):
            self._keys.pop(key).unlink()

    def _identity(self, asked: Asked) -> Identity:
        return self._tokens.find_identity() if self._old_agent else super()._identity(asked)

    def _document(self, request: GrantRequest) -> dict[str, object]:
        named = {
            name: str(getattr(request.identity, kind))
            for name, kind in self.by_parameter.items()
            if request.asked.parameter(name) is not None and not self._old_agent
        }
        return {**make_token_document(self._tokens, request.identity, request.resource), **named}

    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        return {"error": refused.code, "error_description": refused.text}
