"""The command `aiomsi doctor`: checks of the host, the token and ARM."""

from __future__ import annotations

import asyncio
from uuid import UUID

import click
from click.exceptions import Exit

from aiomsi._cli.options import Target, add_arm_options, format_epilog
from aiomsi._errors import ConfigurationError

_EXIT_CODES = (
    "Exit codes: 0 success; 1 there is no token; 2 wrong usage or configuration; 3 there is a "
    "token, but ARM refuses it, can't be reached, or shows no subscription; 130 interrupted; 141 "
    "the reader of the output ended."
)


@click.command(
    epilog=format_epilog(
        "aiomsi doctor",
        "aiomsi doctor --json | jq '.checks[] | select(.state != \"ok\")'",
        "aiomsi doctor --credential azure.identity.aio:AzureCliCredential",
        exit_codes=_EXIT_CODES,
    )
)
@click.option(
    "--subscription",
    metavar="ID",
    help="Read this subscription too, and explain a refusal.",
)
@add_arm_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(subscription: str | None, target: Target, as_json: bool) -> None:
    """Check the host, the token and ARM, and print each finding with its remedy.

    The command requests one token and the description of the VM, and lists the subscriptions that
    the identity sees. The token is never printed.
    """
    from aiomsi._cli.doctor.check import get_exit_code
    from aiomsi._cli.doctor.probe import examine
    from aiomsi._cli.doctor.report import print_checks, print_checks_as_json

    checks = asyncio.run(examine(target, _check_subscription(subscription)))
    if as_json:
        print_checks_as_json(checks)
    else:
        print_checks(checks)
    if code := get_exit_code(checks):
        raise Exit(code)


def _check_subscription(subscription: str | None) -> str:
    """Return the id, or an empty string without one.

    Raises:
        ConfigurationError: the id is not a GUID.

    """
    try:
        return "" if subscription is None else str(UUID(subscription))
    except ValueError:
        msg = f"--subscription is not a GUID: {subscription!r}"
    raise ConfigurationError(msg, help="'aiomsi list /subscriptions' prints the ids")
