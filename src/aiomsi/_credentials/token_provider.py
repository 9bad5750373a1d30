"""`token_provider`: an async function that returns the text of a token, for other clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiomsi._clouds import parse_resource
from aiomsi._credentials.shared import SharedCredential
from aiomsi._credentials.slot_credential import SlotCredential


def token_provider(
    credential: Callable[[], Any] | Callable[..., Awaitable[Any]] | Any, scope: str
) -> Callable[[], Coroutine[Any, Any, str]]:
    """Return an async function without arguments whose result is the text of a token.

    Clients outside of the Azure SDK take such a function: openai as ``azure_ad_token_provider``,
    asyncpg as ``password``. Each call returns the current token, mostly without a request.

    Args:
        credential: a credential of this package, or whatever `SharedCredential` takes. A credential
            of another library is put under a separate `SharedCredential`; to share its tokens
            between several functions, pass all of them one `SharedCredential`.
        scope: the scope, for example ``"https://cognitiveservices.azure.com/.default"``.

    Raises:
        ConfigurationError: the scope is malformed, the credential is synchronous, or it is no
            credential. The function raises the errors of `get_token`.

    """
    parse_resource(scope)
    shared: SlotCredential = (
        credential
        if isinstance(credential, SlotCredential) and not credential.is_overridden
        else SharedCredential(credential)
    )

    async def get_token() -> str:
        """Return the text of a token."""
        return (await shared.get_token(scope)).token

    return get_token
