"""ARM's error responses, with ARM's texts, because clients match on them.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

import base64
from collections.abc import Mapping

from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.azure_state import TENANT_ID
from aiomsi.testing._state.tokens import Caller, RejectedTokenError


def make_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: object
) -> Answer:
    """Return an error response of ARM, not of a resource provider.

    `more` are members of the error besides ``code`` and ``message``.
    """
    error = {"error": {"code": code, "message": message, **more}}
    return make_json_answer(status, error, {"x-ms-failure-cause": "gateway", **(headers or {})})


def make_unauthorized(rejection: RejectedTokenError, tenant_id: str = TENANT_ID) -> Answer:
    """Return the 401 for a rejected token; its challenge names the tenant to authenticate with."""
    authority = f'Bearer authorization_uri="https://login.windows.net/{tenant_id}"'
    if rejection.claims is None:
        challenge = (
            f'{authority}, error="invalid_token", error_description="{rejection.description}"'
        )
    else:
        claims = base64.urlsafe_b64encode(rejection.claims.encode()).decode()
        challenge = (
            f'{authority}, error="insufficient_claims", '
            f'error_description="{rejection.description}", claims="{claims}"'
        )
    return make_error(401, rejection.code, rejection.message, {"WWW-Authenticate": challenge})


def make_wrong_tenant(caller: Caller, tenant_id: str) -> Answer:
    """Return the 401 for a valid token of another tenant than the subscription's."""
    authority = f"https://login.windows.net/{tenant_id}"
    text = (
        f"The access token is from the wrong issuer 'https://sts.windows.net/{caller.tenant_id}/'. "
        f"It must match the tenant 'https://sts.windows.net/{tenant_id}/' associated with this "
        f"subscription. Please use the authority (URL) '{authority}' to get the token."
    )
    challenge = (
        f'Bearer authorization_uri="{authority}", error="invalid_token", '
        'error_description="The access token is from the wrong issuer. '
        'It must match the tenant associated with this subscription."'
    )
    return make_error(
        401, "InvalidAuthenticationTokenTenant", text, {"WWW-Authenticate": challenge}
    )


def make_forbidden(caller: Caller, action: str, scope: str) -> Answer:
    """Return the 403 for a caller without a role."""
    text = (
        f"The client '{caller.client_id}' with object id '{caller.object_id}' does not have "
        f"authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. "
        "If access was recently granted, please refresh your credentials."
    )
    return make_error(403, "AuthorizationFailed", text)


def make_read_only(subscription_id: str) -> Answer:
    """Return the 409 for a write to a subscription whose state allows none."""
    text = (
        f"The subscription '{subscription_id}' is disabled and therefore marked as read only. "
        "You cannot perform any write actions on this subscription until it is re-enabled."
    )
    return make_error(409, "ReadOnlyDisabledSubscription", text)
