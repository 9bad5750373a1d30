"""A program in an environment without azure-core: the types of tokens are known there, too."""

import asyncio
from typing import Any

import aiomsi


class Counting(aiomsi.ManagedIdentityCredential):
    """A subclass that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def get_token(self, *scopes: str, **options: Any) -> aiomsi.AccessToken:
        """Count a call."""
        self.calls += 1
        return await super().get_token(*scopes, **options)


def describe(token: aiomsi.AccessToken, info: aiomsi.AccessTokenInfo) -> str:
    """Return what both have."""
    moment: int = token.expires_on + token.refresh_on + info.expires_on + info.refresh_on
    return f"{moment} {token.identity.client_id} {info.identity.tenant_id}"


def read(token: aiomsi.AccessToken) -> str:
    """Return a `str`, which a strict checker does not accept from an unknown class."""
    return token.token


async def main() -> str:
    """Use both credentials."""
    async with Counting() as own, aiomsi.SharedCredential(aiomsi.ManagedIdentityCredential) as over:
        token = await own.get_token("scope")
        info = await over.get_token_info("scope", options={"enable_cae": True})
        own.reject(token)
        over.reject(info)
        header: str = token.authorization
        return header + read(token) + info.token_type + describe(token, info)


if __name__ == "__main__":
    print(asyncio.run(main()))
