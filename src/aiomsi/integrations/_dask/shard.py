"""The reading of a shard on a worker, until its end or until the run is cancelled."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import anyio
import attrs

from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK
from aiomsi._errors import ConfigurationError
from aiomsi._util.tasks import create_task
from aiomsi.inventory._parts.owner import OwnerFile
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._run import open_parts, run_shard

PERIOD = 2.0
"""Seconds between two readings of the owner file."""


@attrs.frozen(eq=False, repr=False)
class RunConfig:
    """The configuration that a client sends to the workers; it holds no token.

    It has no repr, because Dask logs those of arguments, and the options of a store may hold a key.

    Attributes:
        folder: the absolute path or the URL of the folder of the parts.
        owner: the id of the client in the owner file.
        credential: the credential of the sessions; None for the machine's identity.
        session: further arguments of `ArmSession`.
        storage_options: options of fsspec's file system.
        retry_failed: as for `run_shard`.
        max_age: as for `run_shard`.

    """

    folder: str
    owner: str
    credential: Any = None
    session: Mapping[str, Any] = attrs.field(factory=dict)
    storage_options: Mapping[str, Any] | None = None
    retry_failed: bool = False
    max_age: float | None = None

    @property
    def plugin_name(self) -> str:
        """The name of the plugin: one for each folder, so that a resumed run replaces it."""
        return f"aiomsi-inventory-{hashlib.sha256(self.folder.encode()).hexdigest()[:16]}"

    def open_session(self) -> ArmSession:
        """Return a new session; no request is sent."""
        return ArmSession(self.credential, **self.session)

    def find_owner_file(self, arm: ArmSession) -> OwnerFile:
        """Return the owner file, in the folder as this machine sees it."""
        return OwnerFile(open_parts(arm, self.folder, self.storage_options).place)


async def read_shard(
    arm: ArmSession, config: RunConfig, plan: Plan, scopes: Collection[Scope]
) -> list[ScopeResult] | None:
    """Read scopes into part files; return None if the run was cancelled or has another owner.

    Raises:
        ConfigurationError: this machine does not share the folder with the client.
        OSError: the folder can't be read or written.

    """
    file = config.find_owner_file(arm)
    owner = await asyncio.to_thread(file.read)
    if owner is None:
        raise make_not_shared_error(config.folder, "a worker")
    if owner != config.owner:
        return None
    with anyio.CancelScope() as cancelling:
        loop = asyncio.get_running_loop()
        watch = create_task(loop, _watch(file, config.owner, cancelling), "aiomsi owner")
        try:
            return await run_shard(
                arm,
                plan,
                scopes,
                config.folder,
                retry_failed=config.retry_failed,
                max_age=config.max_age,
                storage_options=config.storage_options,
            )
        finally:
            watch.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([watch])
    return None


async def _watch(file: OwnerFile, owner: str, cancelling: anyio.CancelScope) -> None:
    """Cancel a scope as soon as the file names another owner."""
    while not cancelling.cancel_called:
        await SYSTEM_CLOCK.sleep(PERIOD)
        # A store that fails for a moment must not end the run.
        with suppress(OSError):
            if await asyncio.to_thread(file.read) != owner:
                cancelling.cancel()


def make_not_shared_error(folder: str, workers: str) -> ConfigurationError:
    """Return the error of workers that don't see the files of the client."""
    msg = f"{workers} can't see the files that the client writes to {folder!r}"
    return ConfigurationError(
        msg, help="Pass folder= on a disk that all machines share, or the URL of a store"
    )
