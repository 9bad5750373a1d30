"""`inventory`: an inventory of many subscriptions on a Dask cluster.

It has the plan, the part files and the output of `aiomsi.inventory` on one machine, and each of its
runs continues from the parts of an earlier one.

Source: https://distributed.dask.org/en/stable/
"""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from anyio.from_thread import start_blocking_portal

from aiomsi._credentials.slot_credential import SlotCredential
from aiomsi._errors import ConfigurationError
from aiomsi.integrations._dask.shard import RunConfig
from aiomsi.inventory._assemble import assemble
from aiomsi.inventory._extras import require_extra
from aiomsi.inventory._formats.locations import Location, open_place
from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._parts.owner import OwnerFile
from aiomsi.inventory._plan.planning import plan as make_plan
from aiomsi.inventory._plan.scopes import ScopeResult
from aiomsi.inventory._run import find_storage_options, open_parts

__all__ = ["cancel", "inventory"]


def inventory(
    client: Any,
    *,
    output: Location,
    folder: Location,
    credential: Any = None,
    session: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    shard: int | None = None,
    retries: int = 2,
    retry_failed: bool = False,
    max_age: float | None = None,
    excel: bool = False,
    on_result: Callable[[ScopeResult], object] | None = None,
    **choice: Any,
) -> Manifest:
    """Read an inventory on a Dask cluster, write its output, and return its manifest.

    The function blocks; call it through `asyncio.to_thread` from a coroutine. Each task reads the
    scopes of some subscriptions into part files, in one event loop and one session per worker, and
    returns their results. A task whose parts are in the folder sends no request, so a run that was
    cancelled or killed continues if it is called again with the same arguments.

    A worker that dies is replaced by another one. A task whose workers die again and again fails
    with `KilledWorker`, which becomes the error of its scopes, as any other error of a task does.

    Args:
        client: a `distributed.Client`, not an asynchronous one.
        output: as for `aiomsi.inventory.assemble`; the client writes it.
        folder: the path or URL of the folder of the parts, which the client and all workers reach:
            a shared disk, or a store such as ``"abfss://container@account.dfs.core.windows.net/x"``.
        credential: a credential of this package, which is sent as configuration, without tokens;
            None for the managed identity of each machine. To use another library's credential,
            pass a `SharedCredential` of a class or of a function of a module.
        session: further arguments of `ArmSession` on the client and on each worker, such as
            ``{"rate": {"reads": 20}}``.
        storage_options: options of fsspec's file system, for a URL. Azure's file system gets the
            session's credential, unless they name another one.
        shard: the most subscriptions of a task; None for 20, or 300 if Resource Graph is read.
        retries: how often Dask repeats a task that failed.
        retry_failed: read scopes again that ended in errors.
        max_age: read scopes again that are older, in seconds.
        excel: as for `aiomsi.inventory.assemble`.
        on_result: called with the result of each scope, in this thread, when its task has ended.
        choice: the arguments of `aiomsi.inventory.plan`.

    Raises:
        ConfigurationError: an argument is wrong or can't be sent to workers, dask is not installed,
            the folder has a run with other arguments, or a worker can't see it.
        EmptyInventoryError: as for `plan`.
        ArmError: as for `plan`.
        UsageError: another client has begun to continue the run.
        CancelledError: of `concurrent.futures`: the run was cancelled. No output was written.
        OSError: a file can't be written.

    """
    place = _find_folder(folder)
    owner = uuid.uuid4().hex
    config = RunConfig(
        place, owner, credential, dict(session or {}), storage_options, retry_failed, max_age
    )
    _check_sendable(config)
    with require_extra("dask", "an inventory on a Dask cluster"):
        from aiomsi.integrations._dask.cluster_run import ClusterRun
    _check_client(client)
    with start_blocking_portal() as portal:
        arm = portal.call(config.open_session)
        with portal.wrap_async_context_manager(arm):
            plan = portal.call(partial(make_plan, arm, **choice))
            parts = open_parts(arm, place, storage_options)
            plan = parts.open(plan)
            ClusterRun(client, config, plan, parts, retries, shard, on_result).run()
            storage = find_storage_options(arm, storage_options, place, output)
            return assemble(plan, place, output, excel=excel, storage_options=storage)


def cancel(folder: Location, *, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Cancel the run in a folder, from any process; return whether there was one.

    The workers cancel their requests within seconds, and `inventory` then raises a CancelledError.

    Args:
        folder: the folder of the parts.
        storage_options: as for `aiomsi.inventory.assemble`.

    Raises:
        ConfigurationError: the file system is not installed, or refuses the options.
        OSError: the folder can't be written.

    """
    return OwnerFile(open_place(folder, storage_options)).cancel()


def _find_folder(folder: Location) -> str:
    """Return a URL, or an absolute path, because workers have other working directories."""
    text = os.fspath(folder)
    return text if "://" in text else os.path.abspath(text)  # noqa: PTH100 (links stay as they are)


def _check_sendable(config: RunConfig) -> None:
    """Raise ConfigurationError unless a worker can receive the configuration, without secrets."""
    credential = config.credential
    if credential is not None and not isinstance(credential, SlotCredential):
        msg = f"credential= is a credential of this package, and not a {type(credential).__name__}"
        raise ConfigurationError(
            msg, help="Pass a SharedCredential of a function that creates the credential"
        )
    try:
        pickle.dumps(config)
    except Exception as error:  # noqa: BLE001 (any object may refuse in its own way)
        problem = f"the arguments can't be sent to workers: {error}"
    else:
        return
    raise ConfigurationError(
        problem, help="Pass values that pickle; for a certificate, set SSL_CERT_FILE on the workers"
    )


def _check_client(client: Any) -> None:
    from distributed import Client

    if not isinstance(client, Client) or client.asynchronous:
        msg = "client= is a synchronous distributed.Client"
        raise ConfigurationError(msg, help="Pass Client(address) without asynchronous=True")
