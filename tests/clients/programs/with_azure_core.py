"""A program that passes the credentials where azure-core's protocols are wanted."""

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.credentials_async import (
    AsyncSupportsTokenInfo,
    AsyncTokenCredential,
    AsyncTokenProvider,
)

import aiomsi


async def ask(credential: AsyncTokenCredential) -> AccessToken:
    """Take what every client of the Azure SDK takes."""
    async with credential as entered:
        return await entered.get_token("scope", claims=None, tenant_id="t", enable_cae=True)


async def ask_info(credential: AsyncSupportsTokenInfo) -> AccessTokenInfo:
    """Take what newer clients take."""
    async with credential as entered:
        return await entered.get_token_info("scope", options={"enable_cae": True})


def choose(provider: AsyncTokenProvider) -> AsyncTokenProvider:
    """Take either."""
    return provider


async def main() -> str:
    """Use both credentials, and what they return."""
    own = aiomsi.ManagedIdentityCredential()
    shared = aiomsi.SharedCredential(own)
    for credential in (own, shared):
        choose(credential)
        await ask(credential)
        await ask_info(credential)
    token = await own.get_token("scope")
    info = await shared.get_token_info("scope", options={"tenant_id": "t"})
    text, expires_on = token
    own.reject(token)
    shared.reject(info)
    moment: int = expires_on + info.refresh_on + token.refresh_on
    return text + token.authorization + info.token + info.authorization + str(moment)
