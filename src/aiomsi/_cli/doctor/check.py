"""`Check`, the result of one check, and the exit code of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from aiomsi._cli.phrases import translate
from aiomsi._errors import AiomsiError

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
TOKEN, ARM = "token", "arm"
NO_TOKEN, REFUSED = 1, 3
"""Exit codes."""


@attrs.frozen
class Check:
    """The result of one check.

    Attributes:
        name: the name of the check, one word.
        state: `OK`, `WARNING`, `FAILED` or `SKIPPED`.
        text: the finding, in one sentence without a full stop.
        help: the remedy, or an empty string.
        facts: values for programs, by name.

    """

    name: str
    state: str
    text: str
    help: str = ""
    facts: Mapping[str, object] = attrs.field(factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the check as an object of JSON; empty facts are left out."""
        known = {"facts": dict(self.facts)} if self.facts else {}
        return {
            "name": self.name,
            "state": self.state,
            "text": self.text,
            "help": self.help,
            **known,
        }


def fail(name: str, error: AiomsiError) -> Check:
    """Return the failed check of an error, in the words of the command line."""
    return Check(name, FAILED, translate(str(error.args[0])), translate(error.help))


def get_exit_code(checks: Iterable[Check]) -> int:
    """Return 1 without a token, 3 if ARM does not serve the token, else 0."""
    failed = {check.name for check in checks if check.state == FAILED}
    return NO_TOKEN if TOKEN in failed else REFUSED if ARM in failed else 0
