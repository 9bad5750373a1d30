"""`Mask`: hides the ids of subscriptions in texts. No I/O."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from aiomsi._errors import AiomsiError
from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._plan.scopes import ScopeError, ScopeResult
from aiomsi.inventory._plan.subscriptions import Subscription

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHOWN = 4


@attrs.define(eq=False, repr=False)
class Mask:
    """Replaces the ids of subscriptions, except for their last four digits.

    Attributes:
        is_on: whether anything is replaced.

    """

    is_on: bool = False
    _ids: frozenset[str] = attrs.field(factory=frozenset, init=False)

    def hide(self, subscription_ids: Iterable[str]) -> None:
        """Replace these ids from now on; before, every GUID is replaced."""
        self._ids = frozenset(each.lower() for each in subscription_ids)

    def __call__(self, text: str) -> str:
        """Return a text without the ids."""
        return _GUID.sub(self._replace, text) if self.is_on else text

    @contextmanager
    def logs(self) -> Iterator[None]:
        """Replace the ids in the texts of the library's log and errors, for the block."""
        logger = logging.getLogger("aiomsi")
        handlers = [*logger.handlers]
        for handler in handlers:
            handler.addFilter(self._mask_record)
        try:
            yield
        except AiomsiError as error:
            mask_error(error, self)
            raise
        finally:
            for handler in handlers:
                handler.removeFilter(self._mask_record)

    def _mask_record(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self(record.getMessage()), ()
        return True

    def _replace(self, found: re.Match[str]) -> str:
        guid = found[0]
        before = found.string[: found.start()].lower()
        is_id = not self._ids or guid.lower() in self._ids or before.endswith("subscriptions/")
        return mask_id(guid) if is_id else guid


def mask_id(guid: str) -> str:
    """Return a GUID with all digits but the last four replaced."""
    return re.sub(r"[0-9a-fA-F]", "x", guid[:-_SHOWN]) + guid[-_SHOWN:]


def mask_error(error: AiomsiError, mask: Mask) -> None:
    """Replace the ids in the texts of an error that the command prints."""
    error.args = (mask(str(error.args[0])), *error.args[1:])
    error.help = mask(error.help)


def mask_value(value: Any, mask: Mask) -> Any:
    """Return JSON values with the ids replaced in their texts, those of names included."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {mask(name): mask_value(one, mask) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mask_value(one, mask) for one in value)
    return value


def mask_manifest(manifest: Manifest, mask: Mask) -> Manifest:
    """Return a manifest without the ids, for people."""
    plan = manifest.plan
    choice = attrs.evolve(
        plan.choice,
        subscriptions=mask_value(plan.choice.subscriptions, mask),
        exclude=mask_value(plan.choice.exclude, mask),
    )
    subscriptions = tuple(_mask_subscription(one, mask) for one in plan.subscriptions)
    return attrs.evolve(
        manifest,
        plan=attrs.evolve(plan, subscriptions=subscriptions, choice=choice),
        results=tuple(_mask_result(one, mask) for one in manifest.results),
    )


def _mask_subscription(one: Subscription, mask: Mask) -> Subscription:
    return attrs.evolve(one, id=mask(one.id), name=None if one.name is None else mask(one.name))


def _mask_result(one: ScopeResult, mask: Mask) -> ScopeResult:
    scope = attrs.evolve(one.scope, subscription_id=mask(one.scope.subscription_id))
    return attrs.evolve(one, scope=scope, error=_mask_scope_error(one.error, mask))


def _mask_scope_error(error: ScopeError | None, mask: Mask) -> ScopeError | None:
    return None if error is None else attrs.evolve(error, message=mask(error.message))
