"""The commands that call ARM: `get`, `list`, `query` and `request`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import click

from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._cli.arguments import parse_headers, parse_params, read_body, read_text
from aiomsi._cli.options import EXIT_CODES, CommandSession, Target, add_arm_options, format_epilog
from aiomsi._cli.output import print_body, print_head, print_json, print_line, print_message
from aiomsi._errors import SAFE_METHODS, AiomsiError, ArmError, ConfigurationError, ServiceError
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID

_Command = TypeVar("_Command", bound=Callable[..., Any])

_SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
_DEVTEST = f"{_SUBSCRIPTION}/resourceGroups/DevTest"
_PATH_NOTE = (
    f"{EXIT_CODES} In Git Bash set MSYS_NO_PATHCONV=1, so that the path does not become a "
    "Windows path."
)


def _add_path_options(command: _Command) -> _Command:
    """Add PATH, and the options that belong to it."""
    for decorate in (
        click.option(
            "--param",
            "params",
            multiple=True,
            metavar="NAME=VALUE",
            help="A query parameter; may be repeated.",
        ),
        click.option(
            "--api-version",
            metavar="VERSION",
            help="Version of the resource type's API; without it, and without one in PATH, the "
            "newest stable one is looked up.",
        ),
        click.argument("path"),
    ):
        command = decorate(command)
    return command


def _make_timeout_option(text: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help=text
    )


_table_option = click.option(
    "--table", is_flag=True, help="Print a table after the last page, cut to the terminal's width."
)


@click.command(
    epilog=format_epilog(
        f"aiomsi get {_DEVTEST}",
        "aiomsi get /subscriptions --api-version 2022-12-01 | jq '.value[].displayName'",
        exit_codes=_PATH_NOTE,
    )
)
@_add_path_options
@_make_timeout_option("Seconds for the whole call.")
@add_arm_options
@click.option("--include", is_flag=True, help="Print status and headers to stderr.")
def get(
    path: str,
    api_version: str | None,
    params: Sequence[str],
    timeout: float | None,
    target: Target,
    include: bool,
) -> None:
    """GET a PATH of Azure Resource Manager, and print the response as JSON.

    The request is repeated as the retry rule says, so that a 429 or a 503 is no result.
    """
    pairs = parse_params(params)

    async def send() -> ArmResponse:
        async with target.open_session() as arm:
            return await arm.request(
                "GET", path, api_version=api_version, params=pairs, timeout=timeout
            )

    try:
        response = asyncio.run(send())
    except ArmError as error:
        if include:
            print_head(error.response)
        raise
    if include:
        print_head(response)
    if response.body:
        print_json(response.json())


@click.command(
    name="list",
    epilog=format_epilog(
        f"aiomsi list {_SUBSCRIPTION}/resources --table",
        f"aiomsi list {_SUBSCRIPTION}/resourceGroups | jq -r .name",
        exit_codes=_PATH_NOTE,
    ),
)
@_add_path_options
@_make_timeout_option("Seconds for each page.")
@_table_option
@add_arm_options
def list_items(
    path: str,
    api_version: str | None,
    params: Sequence[str],
    timeout: float | None,
    table: bool,
    target: Target,
) -> None:
    """Print the items of the list at PATH, of every page.

    Each item is a line of JSON (JSON Lines), written as soon as its page has arrived.
    """
    pairs = parse_params(params)
    _run_list(
        target,
        lambda arm: arm.list(path, api_version=api_version, params=pairs, timeout=timeout),
        table=table,
        chosen=False,
    )


@click.command(
    epilog=format_epilog(
        'aiomsi query "Resources | project id, name, location"',
        'aiomsi query "Resources | summarize count() by type" --table',
    )
)
@click.argument("kql")
@click.option(
    "--subscription",
    "subscriptions",
    multiple=True,
    metavar="ID",
    help="A subscription to search; may be repeated. By default all that the identity can read.",
)
@click.option(
    "--management-group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="A management group to search; may be repeated.",
)
@_make_timeout_option("Seconds for each page.")
@_table_option
@add_arm_options
def query(
    kql: str,
    subscriptions: Sequence[str],
    groups: Sequence[str],
    timeout: float | None,
    table: bool,
    target: Target,
) -> None:
    """Print the rows of an Azure Resource Graph query, of every page.

    KQL is the query, @FILE a file with it, or - for stdin. Each row is a line of JSON (JSON
    Lines), written as soon as its page has arrived.
    """
    text = read_text("KQL", kql)
    if subscriptions and groups:
        msg = "--subscription and --management-group exclude each other"
        raise ConfigurationError(msg, help="Send a query for each kind of scope")
    _run_list(
        target,
        lambda arm: arm.query(
            text,
            subscriptions=subscriptions or None,
            management_groups=groups or None,
            timeout=timeout,
        ),
        table=table,
        chosen=True,
    )


def _run_list(
    target: Target,
    make_list: Callable[[CommandSession], AsyncGenerator[Any, None]],
    *,
    table: bool,
    chosen: bool,
) -> None:
    if not table:
        asyncio.run(_forward(target, make_list, print_line))
        return
    from aiomsi._cli.progress import show_count
    from aiomsi._cli.table import print_table

    items: list[Any] = []
    try:
        with show_count() as show:

            def keep(item: Any) -> None:
                items.append(item)
                show(len(items))

            asyncio.run(_forward(target, make_list, keep))
    except AiomsiError:
        # The rows of the pages that were read come before the error.
        if items:
            print_table(items, chosen=chosen)
        raise
    print_table(items, chosen=chosen)


async def _forward(
    target: Target,
    make_list: Callable[[CommandSession], AsyncGenerator[Any, None]],
    use: Callable[[Any], None],
) -> None:
    """Pass every item of a list to a function, as the pages arrive."""
    count = 0
    try:
        async with target.open_session() as arm, aclosing(make_list(arm)) as items:
            async for item in items:
                if not count:
                    arm.report_version()
                use(item)
                count += 1
    except AiomsiError as error:
        if count:
            error.add_note(f"The list is incomplete: it failed after {count} items")
        raise


@click.command(
    epilog=format_epilog(
        f'aiomsi request PUT {_DEVTEST} --body \'{{"location": "westus"}}\'',
        f"aiomsi request PATCH {_DEVTEST} --body @tags.json --header 'If-Match: *'",
        f"aiomsi request DELETE {_DEVTEST} --timeout 600",
        exit_codes=_PATH_NOTE,
    )
)
@click.argument("method")
@_add_path_options
@click.option(
    "--body",
    metavar="JSON",
    help="The body: JSON, @FILE for a file, - for stdin. With a Content-Type in --header any body "
    "is sent, unchanged.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="A request header; may be repeated.",
)
@_make_timeout_option(
    "Seconds for the call and its operation; an operation then continues unwatched."
)
@add_arm_options
def request(
    method: str,
    path: str,
    api_version: str | None,
    params: Sequence[str],
    body: str | None,
    headers: Sequence[str],
    timeout: float | None,
    target: Target,
) -> None:
    """Send a request to ARM, wait for the end of its operation, and print the result.

    The state, percentage and duration of a long-running operation are printed to stderr. The result
    is printed as JSON; the body of a GET that is not JSON is printed unchanged, or without control
    characters on a terminal.
    """
    chosen = parse_headers(headers)
    content = None if body is None else read_body(body, chosen)
    if content is not None and "Content-Type" not in chosen:
        chosen["Content-Type"] = "application/json"
    options = {
        "api_version": api_version,
        "params": parse_params(params),
        "content": content,
        "headers": chosen or None,
        "timeout": timeout,
    }
    run = _read if method.upper() in SAFE_METHODS else _change
    asyncio.run(run(target, method.upper(), path, options))


async def _read(target: Target, method: str, path: str, options: dict[str, Any]) -> None:
    async with target.open_session() as arm:
        response = await arm.request(method, path, **options)
    if not response.body:
        return
    try:
        document = response.json()
    except ServiceError:
        print_body(response.body)
    else:
        print_json(document)


async def _change(target: Target, method: str, path: str, options: dict[str, Any]) -> None:
    """Send a request that may begin a long-running operation, and wait for its end."""
    from aiomsi._cli.progress import OperationProgress

    timeout, began = options["timeout"], time.monotonic()
    doubt = f"{method} {path.partition('?')[0]} may be carried out: read the resource"
    try:
        async with target.open_session() as arm:
            operation = await arm.begin(method, path, **options)
            if not operation.done:
                arm.report_version()
                doubt = "the operation continues: read the resource to see its end"
            left = None if timeout is None else timeout - (time.monotonic() - began)
            with OperationProgress(operation) as progress:
                result = await operation.result(deadline=left, on_progress=progress.show)
    except asyncio.CancelledError:
        print_message(doubt)
        raise
    if result is not None:
        print_json(result)
