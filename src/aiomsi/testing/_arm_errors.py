"""ARM's errors, in ARM's words: clients match on them.

Source: https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

from collections.abc import Mapping

from aiomsi.testing._answers import Answer, json_answer
from aiomsi.testing._state import TENANT_ID
from aiomsi.testing._tokens import Caller, RejectedTokenError


def error_answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Make an error that ARM itself reports, not a resource provider."""
    error = {"error": {"code": code, "message": message}}
    return json_answer(status, error, {"x-ms-failure-cause": "gateway", **(headers or {})})


def unauthorized(rejection: RejectedTokenError) -> Answer:
    """Make the 401 for a token that ARM does not take, with its challenge."""
    challenge = (
        f'Bearer authorization_uri="https://login.windows.net/{TENANT_ID}", error="invalid_token", '
        f'error_description="{rejection.description}"'
    )
    return error_answer(401, rejection.code, rejection.message, {"WWW-Authenticate": challenge})


def forbidden(caller: Caller, action: str, scope: str) -> Answer:
    """Make the 403 for a caller without a role."""
    text = (
        f"The client '{caller.client_id}' with object id '{caller.object_id}' does not have authorization to perform "
        f"action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please "
        "refresh your credentials."
    )
    return error_answer(403, "AuthorizationFailed", text)
