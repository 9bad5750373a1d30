"""Azure Machine Learning: protocol 2017-09-01.

Source: https://learn.microsoft.com/azure/app-service/overview-managed-identity (the version
2017-09-01, which Azure Machine Learning has kept)
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Literal, get_args

from aiomsi.testing._hosts.embedded_host import (
    GrantRequest,
    RefusedRequestError,
    TokenEndpoint,
    check_secret,
    require_version,
)
from aiomsi.testing._hosts.token_issuer import TokenIssuer
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.messages import Asked
from aiomsi.testing._server.servers import Servers

DateForm = Literal["text", "number", "linux", "windows"]


class EmbeddedMachineLearning(TokenEndpoint):
    """The token endpoint of Azure Machine Learning."""

    kind = "azure-ml"
    path = "/msi/token"
    by_parameter: dict[str, str] = {"clientid": "client_id"}  # noqa: RUF012  # the base class declares it

    def __init__(self, context: ServiceContext, servers: Servers, tokens: TokenIssuer) -> None:
        super().__init__(context, servers, tokens)
        self._date_form: DateForm = "text"

    def set_date_form(self, form: DateForm) -> None:
        """Set the form of ``expires_on``.

        Args:
            form: ``"text"`` for seconds since the epoch as a string, ``"number"`` for the same as
                a number, ``"linux"`` for a date like ``06/20/2019 02:57:58 +00:00``,
                ``"windows"`` for one like ``1/16/2020 5:24:12 AM +00:00``.

        Raises:
            ValueError: `form` is unknown.

        """
        if form not in get_args(DateForm):
            msg = f"form must be one of {', '.join(get_args(DateForm))}, and is {form!r}"
            raise ValueError(msg)
        self._date_form = form

    def _variables(self) -> dict[str, str]:
        variables = {"MSI_ENDPOINT": self.token_url, "MSI_SECRET": self._secret}
        identities = self._tokens.world.identities
        if identities and not any(one.system_assigned for one in identities):
            variables["DEFAULT_IDENTITY_CLIENT_ID"] = identities[0].client_id
        return variables

    def _check(self, asked: Asked) -> None:
        if not check_secret(asked, "Secret", self._secret):
            text = "The header secret is missing or does not match"
            raise RefusedRequestError(401, "Unauthorized", text)
        require_version(asked, ("2017-09-01",), "UnsupportedApiVersion")

    def _document(self, request: GrantRequest) -> dict[str, object]:
        issued = self._tokens.issue(request.identity, request.resource)
        return {
            "access_token": issued.token,
            "expires_on": format_date(issued.expires_on, self._date_form),
            "resource": request.resource,
            "token_type": "Bearer",
        }

    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        return {
            "ExceptionMessage": refused.text,
            "ErrorCode": refused.code,
            "StatusCode": refused.status,
            "Message": refused.text,
            "CorrelationId": str(uuid.uuid4()),
        }


def format_date(moment: int, form: DateForm) -> str | int:
    """Return a time as the value of ``expires_on``."""
    if form == "number":
        return moment
    if form == "text":
        return str(moment)
    date = datetime.fromtimestamp(moment, UTC)
    if form == "linux":
        return date.strftime("%m/%d/%Y %H:%M:%S +00:00")
    time = f"{date.hour % 12 or 12}:{date:%M:%S} {'AM' if date.hour < 12 else 'PM'}"
    return f"{date.month}/{date.day}/{date.year} {time} +00:00"
