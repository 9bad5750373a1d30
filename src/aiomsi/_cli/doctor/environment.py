"""Checks of the host, its machine, and environment variables."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import attrs

from aiomsi._cli.doctor.check import OK, WARNING, Check, fail
from aiomsi._cli.phrases import translate
from aiomsi._clouds import mask_url
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import Host
from aiomsi._hosts.detect import HOSTS, describe_left_over
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._hosts.instance import InstanceMetadata


def check_host(host: Host | ConfigurationError) -> Check:
    """Return the kind of host, and the reason for which it was chosen."""
    if isinstance(host, ConfigurationError):
        return fail("host", host)
    facts = {"kind": host.kind, "endpoint": host.endpoint}
    return Check("host", OK, f"{host.kind}: {translate(host.chosen_by)}", facts=facts)


def check_machine(machine: InstanceMetadata) -> Check:
    """Return the virtual machine that IMDS describes."""
    text = (
        f"VM {machine.name} in the resource group {machine.resource_group} of the subscription "
        f"{machine.subscription_id}, {machine.location}"
    )
    facts = attrs.asdict(machine, filter=lambda field, _: field.name != "raw")
    return Check("machine", OK, text, facts=facts)


def check_variables(
    environment: Mapping[str, str], identity: RequestedIdentity, kind: str
) -> Check:
    """Return the variables that another tool or host has left behind.

    Args:
        environment: such as `os.environ`; an empty variable counts as unset.
        identity: the identity that the options name.
        kind: the kind of the host, or an empty string.

    """
    has = {name for name, value in environment.items() if value}
    left_over = describe_left_over(has)
    if left_over:
        hint = "Unset it, or set the variables that belong to it"
        return Check("variables", WARNING, "; ".join(left_over), hint)
    if (
        "AZURE_CLIENT_ID" in has
        and identity.kind is None
        and kind != HOSTS["workload-identity"].title
    ):
        return Check(
            "variables",
            WARNING,
            "AZURE_CLIENT_ID is set, which aiomsi does not read on this host, "
            "and no identity is named",
            "If that identity is meant, pass --client-id (in code client_id=)",
        )
    return Check("variables", OK, "no variable of another host is left behind")


def check_proxy(environment: Mapping[str, str], endpoint: str) -> Check:
    """Return the proxy variables that would have misled the token requests of other clients."""
    url = urlsplit(endpoint)
    applying = _find_proxies(environment, url.scheme)
    host = url.hostname or ""
    if not applying:
        return Check("proxy", OK, "no variable names a proxy for the token endpoint")
    exempt = urllib.request.proxy_bypass_environment(host, {"no": _get_exempt(environment)})  # type: ignore[attr-defined]  # public, and absent from typeshed
    if exempt:
        return Check("proxy", OK, f"{applying[0]} is set, and NO_PROXY exempts {host}")
    return Check(
        "proxy",
        WARNING,
        f"{applying[0]} is set ({mask_url(environment[applying[0]])}) and NO_PROXY does not "
        f"list {host}: aiomsi reaches it directly, and other clients send token requests and "
        "their secrets to the proxy",
        f"For other programs add {host} to NO_PROXY",
        {"variables": applying},
    )


def _find_proxies(environment: Mapping[str, str], scheme: str) -> list[str]:
    names: Iterable[str] = (f"{scheme}_proxy", "all_proxy")
    spellings = [spelling for name in names for spelling in (name, name.upper())]
    return [name for name in spellings if environment.get(name)]


def _get_exempt(environment: Mapping[str, str]) -> str:
    return environment.get("no_proxy") or environment.get("NO_PROXY") or ""
