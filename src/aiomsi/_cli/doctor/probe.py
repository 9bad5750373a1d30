"""The probes of `aiomsi doctor`: a token, and two reads of ARM."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import attrs

from aiomsi._arm.http import find_proxy
from aiomsi._arm.session import ArmSession
from aiomsi._cli.doctor.arm import ArmAnswer, check_arm, check_clock
from aiomsi._cli.doctor.check import ARM, FAILED, SKIPPED, Check, fail
from aiomsi._cli.doctor.environment import (
    check_host,
    check_machine,
    check_proxy,
    check_variables,
)
from aiomsi._cli.doctor.token_checks import (
    check_endpoint,
    check_identity,
    check_lifetime,
    check_token,
    read_issued,
)
from aiomsi._cli.options import Target
from aiomsi._clouds import Cloud, mask_url
from aiomsi._credentials.instance_request import instance_metadata
from aiomsi._credentials.slot_credential import SlotCredential
from aiomsi._errors import AiomsiError, ArmError, ConfigurationError, CredentialError
from aiomsi._hosts.base import Host
from aiomsi._hosts.imds import Imds
from aiomsi._hosts.token_times import parse_http_date
from aiomsi._tokens.token_identity import read_identity
from aiomsi._util.json import get_member
from aiomsi._util.secret import MaskedMapping

_API_VERSION = "2022-12-01"
_ARM_TIMEOUT, _MACHINE_TIMEOUT = 20.0, 5.0


async def examine(target: Target, subscription: str) -> list[Check]:
    """Return all checks, those that need no request first."""
    host = None if target.source.name else _find_host(target)
    checks = [_skip_host(target.source.name)] if host is None else _check_environment(host, target)
    if isinstance(host, ConfigurationError):
        return [*checks, attrs.evolve(check_host(host), name="token"), _skip_arm()]
    resource = target.cloud.audience
    async with target.source.open() as credential:
        try:
            token = await credential.get_token(f"{resource}/.default")
        except ConfigurationError:
            raise
        except CredentialError as error:
            checks += await _check_endpoint(host, error)
            return [*checks, check_token(resource, error), _skip_arm()]
        answer = await _ask_arm(credential, target.cloud, subscription)
    text, wall = token.token, time.time()
    return [
        *checks,
        *await _check_endpoint(host, None),
        check_token(resource, None),
        check_identity(text, target.source.identity, "" if host is None else host.kind),
        check_lifetime(token.expires_on, wall),
        check_clock(answer, read_issued(text), wall),
        check_arm(answer, read_identity(text).object_id),
    ]


def _find_host(target: Target) -> Host | ConfigurationError:
    try:
        return target.source.find_host()
    except ConfigurationError as error:
        return error


def _check_environment(host: Host | ConfigurationError, target: Target) -> list[Check]:
    known = None if isinstance(host, ConfigurationError) else host
    kind = "" if known is None else known.kind
    environment = MaskedMapping(os.environ)
    checks = [check_host(host), check_variables(environment, target.source.identity, kind)]
    return checks if known is None else [*checks, check_proxy(environment, known.endpoint)]


async def _check_endpoint(host: Host | None, error: CredentialError | None) -> list[Check]:
    """Return the checks of the token endpoint, and of the machine if IMDS describes it."""
    if host is None:
        return []
    check = check_endpoint(host, error)
    if host.kind != Imds.kind or check.state == FAILED:
        return [check]
    try:
        return [check, check_machine(await instance_metadata(timeout=_MACHINE_TIMEOUT))]
    except (ConfigurationError, CredentialError) as unknown:
        return [check, attrs.evolve(fail("machine", unknown), state=SKIPPED)]


def _skip_host(name: str) -> Check:
    return Check("host", SKIPPED, f"{name} takes the place of this host's identity")


def _skip_arm() -> Check:
    return Check(ARM, SKIPPED, "ARM was not called, because there is no token")


async def _ask_arm(credential: SlotCredential, cloud: Cloud, subscription: str) -> ArmAnswer:
    """Read the subscriptions, and the one that the options name."""
    try:
        session = ArmSession(credential, cloud=cloud, retry=None)
    except ConfigurationError as error:
        return ArmAnswer(cloud.resource_manager, error=error, wanted=subscription)
    async with session as arm:
        answer = ArmAnswer(arm.cloud.resource_manager, wanted=subscription)
        paths = ["/subscriptions", *([f"/subscriptions/{subscription}"] if subscription else [])]
        try:
            proxy, _ = find_proxy(answer.endpoint)
            answer = attrs.evolve(answer, proxy=mask_url(proxy) if proxy else "")
            for number, path in enumerate(paths):
                response = await arm.request(
                    "GET", path, api_version=_API_VERSION, timeout=_ARM_TIMEOUT
                )
                answer = _add_date(answer, response.headers)
                if number == 0:
                    answer = attrs.evolve(answer, **_count_subscriptions(response.json()))
        except ArmError as error:
            return attrs.evolve(_add_date(answer, error.response.headers), error=error)
        except AiomsiError as error:
            return attrs.evolve(answer, error=error)
    return answer


def _count_subscriptions(page: object) -> dict[str, Any]:
    items = get_member(page, "value")
    if not isinstance(items, list):
        msg = "the response is no list of subscriptions: a server other than ARM may have sent it"
        raise AiomsiError(msg, help="Look for a proxy or portal between this machine and ARM")
    return {"subscriptions": len(items), "more": bool(get_member(page, "nextLink"))}


def _add_date(answer: ArmAnswer, headers: Mapping[str, str]) -> ArmAnswer:
    return attrs.evolve(answer, date=parse_http_date(headers.get("Date")), received=time.time())
