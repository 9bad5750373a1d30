"""The command `aiomsi`: its subcommands, the messages of errors, and the exit codes.

`options.EXIT_CODES` lists the exit codes. Results go to stdout, all other output to stderr.

A missing extra ends the process on import, because only the command imports this module.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

try:
    import click
    import rich.console  # noqa: F401  # imported again where it is used
    from click.exceptions import Exit
except ImportError as missing:
    sys.stderr.write(f"The aiomsi command needs {missing.name}: pip install 'aiomsi[cli]'\n")
    raise SystemExit(2) from None

from aiomsi._cli.arm_commands import get, list_items, query, request
from aiomsi._cli.demo_command import demo
from aiomsi._cli.doctor_command import doctor
from aiomsi._cli.emulator import emulator
from aiomsi._cli.inventory.command import inventory
from aiomsi._cli.options import format_epilog
from aiomsi._cli.output import print_message, to_line
from aiomsi._cli.phrases import translate
from aiomsi._cli.token_command import token
from aiomsi._errors import AiomsiError, ArmError, ConfigurationError, ForeignHostError
from aiomsi._util.compat import is_closed_pipe
from aiomsi._version import VERSION
from aiomsi.testing._state.tokens import MissingExtraError


class _Commands(click.Group):
    """A group that ends quietly if its output has no reader, as `head` ends a command."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _exit_quietly():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _exit_quietly():
                return super().invoke(ctx)
        except click.UsageError as error:
            # click's parser does not know the command whose arguments it reads.
            if error.ctx is None and (name := ctx.invoked_subcommand):
                error.ctx = click.Context(self.commands[name], parent=ctx, info_name=name)
            raise


@contextmanager
def _exit_quietly(system: str = os.name) -> Iterator[None]:
    """Turn a broken pipe in the block into the exit code of a process that SIGPIPE ends.

    SIGPIPE itself stays ignored, because it would also end the process for a lost connection.
    """
    try:
        yield
    except OSError as error:
        if not is_closed_pipe(error, system):
            raise
        # The interpreter flushes its streams at exit, and reports a failure.
        # Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        _discard(sys.stdout, sys.stderr)
        raise Exit(141) from None


def _discard(*streams: TextIO) -> None:
    """Send the rest of the output nowhere, also the part that a stream holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    epilog=format_epilog("aiomsi demo", "aiomsi get --help"),
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def run_commands(context: click.Context) -> None:
    """Managed-identity tokens and Azure Resource Manager, from the command line."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (demo, doctor, token, get, list_items, query, request, inventory, emulator):
    run_commands.add_command(_command)


class _LogHandler(logging.Handler):
    """Prints the library's log to stderr, for example that a limit of ARM is waited for."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(translate(self.format(record)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's, and return the exit code."""
    _open_streams()
    logger, handler = logging.getLogger("aiomsi"), _LogHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        return _run(arguments)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _open_streams() -> None:
    """Make writing to the output streams harmless.

    Streams that the process began without are opened. A text that the encoding of a stream lacks is
    written as an escape, because a redirected stream of Windows has the code page of the system.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (until the process ends)
            setattr(sys, name, nowhere)
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # click returns an exit code for --help, --version and `Exit` only; a command that returns
        # has succeeded.
        code = run_commands.main(
            arguments, prog_name="aiomsi", standalone_mode=False, windows_expand_args=False
        )
    except (click.Abort, KeyboardInterrupt):
        return _fail(130, "interrupted")
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "aiomsi"
        return _fail(2, error.format_message(), f"See '{where} --help'")
    except AiomsiError as error:
        code = 2 if isinstance(error, ConfigurationError) and not _is_of_link(error) else 1
        return _fail(code, translate(str(error.args[0])), _list_advice(error))
    except MissingExtraError as error:
        return _fail(2, str(error))
    except OSError as error:
        # Of the output, for example because the disk is full.
        _discard(sys.stdout)
        return _fail(1, str(error))
    return code or 0


def _is_of_link(error: AiomsiError) -> bool:
    """Return whether an error is due to a link of the service, and not to the command line."""
    return isinstance(error, ForeignHostError) and error.from_response


def _fail(code: int, summary: str, advice: str = "") -> int:
    """Print the error and the advice, a line each, and return the exit code."""
    print_message(summary)
    if advice:
        click.echo(to_line(advice), err=True)
    return code


def _list_advice(error: AiomsiError) -> str:
    """Return the service's details, the notes, and the next step."""
    parts = [*_list_details(error), *getattr(error, "__notes__", ())]
    if isinstance(error, ForeignHostError) and not error.from_response:
        parts.append("Tokens are sent to the chosen cloud's ARM only: pass the path, or --cloud")
    else:
        parts.append(translate(error.help))
    return ". ".join(part.rstrip(". ") for part in parts if part)


def _list_details(error: AiomsiError) -> Iterator[str]:
    """Yield the parts of a service's error whose text the error itself lacks."""
    pending = list(error.details) if isinstance(error, ArmError) else []
    while pending:
        detail = pending.pop(0)
        if detail.message and detail.message not in str(error.args[0]):
            yield f"{detail.code}: {detail.message}" if detail.code else detail.message
        pending = [*detail.details, *pending]
