"""`instance_metadata`: the machine of this process, requested once from IMDS.

Each of IMDS's two documents has a slot, so that all callers of the process share its one request,
as they share a token's.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from weakref import WeakSet

from aiomsi._clock import SYSTEM_CLOCK
from aiomsi._credentials.fetch import TokenFetch
from aiomsi._errors import ConfigurationError, TokenUnavailableError, make_no_loop_error
from aiomsi._hosts.imds import Imds
from aiomsi._hosts.instance import (
    INSTANCE,
    TENANT,
    InstanceMetadata,
    MetadataHost,
    find_imds,
    make_instance_metadata,
)
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import get_shared_backoff, get_shared_slots
from aiomsi._util.secret import MaskedMapping, Secret

# A failure is not kept: the next call sends a request, except during a `Retry-After`.
_POLICY = RefreshPolicy(
    failure_replay=0.0, backoff_first=0.0, backoff_max_usable=0.0, backoff_max_unusable=0.0
)


class _Caller:
    """The user of the slots, in place of a credential."""


_CALLER = _Caller()


class _DocumentFetch(TokenFetch):
    """The fetch of a document, which its errors name in place of a token."""

    wanted = "description of this machine"


async def instance_metadata(*, timeout: float | None = 30.0) -> InstanceMetadata:
    """Return what IMDS says about the virtual machine that this process runs on.

    The process requests each of IMDS's two documents once, for all callers, event loops and
    threads; later calls send no request. A failure is not kept. Off Azure a call fails within
    seconds.

    Args:
        timeout: seconds for this caller, whose requests continue for the others; None waits for
            the end of the requests.

    Raises:
        ConfigurationError: the host is not a VM or scale set, or the timeout is no positive number.
        HostUnreachableError: no connection to IMDS was made.
        TokenRefusedError: IMDS, or a server in its place, refused the request.
        TokenUnavailableError: IMDS failed for now, or the timeout is over.
        UsageError: no asyncio event loop is running.

    Source: https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service

    """
    _check_timeout(timeout)
    imds = find_imds(MaskedMapping(os.environ))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise make_no_loop_error() from None
    try:
        async with asyncio.timeout(timeout):
            instance = await _read(imds, INSTANCE)
            tenant = await _read(imds, TENANT)
    except TimeoutError:
        msg = f"{imds.kind} at {imds.authority} did not describe this machine within {timeout:g} s"
        raise TokenUnavailableError(msg, host=imds.kind, endpoint=imds.authority) from None
    return make_instance_metadata(instance, tenant)


async def _read(imds: Imds, path: str) -> Secret:
    """Return the text of a document, requested once; its repr hides the machine's user data."""
    host = MetadataHost(imds, path)
    backoff = get_shared_backoff(SYSTEM_CLOCK, host.throttle_key, host.limits)
    users: WeakSet[object] = WeakSet((_CALLER,))
    make = partial(Slot, f"{host.kind} {path}", SYSTEM_CLOCK, _POLICY, backoff=backoff, users=users)
    slot = get_shared_slots(SYSTEM_CLOCK).attach(host.cache_key, path, _CALLER, make)
    fetch = _DocumentFetch(host, path, _POLICY, SYSTEM_CLOCK, backoff=backoff)
    return Secret((await slot.get(_CALLER, fetch)).token)


def _check_timeout(timeout: object) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        msg = f"timeout= takes seconds, more than 0, and not {timeout!r}"
        raise ConfigurationError(msg)
