"""`Mask`: hides the ids of subscriptions and tenants in everything that a command shows. No I/O."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._errors import AiomsiError, ArmError
from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import ScopeError, ScopeResult
from aiomsi.inventory._plan.subscriptions import Subscription
from aiomsi.inventory._report.mask import IdMask, make_mask

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNKNOWN = "********-****-****-****-************"


@attrs.define(eq=False, repr=False)
class Mask:
    """Replaces ids by the numbers that they have in the report, too.

    Attributes:
        is_on: whether ids are replaced.

    """

    is_on: bool = False
    _ids: IdMask | None = attrs.field(default=None, init=False)

    def learn(self, plan: Plan) -> None:
        """Replace the ids of a plan from now on; before, every GUID is replaced."""
        self._ids = make_mask(Manifest(plan, ()))

    def __call__(self, text: str) -> str:
        """Return a text without the ids."""
        if not self.is_on:
            return text
        return _GUID.sub(_UNKNOWN, text) if self._ids is None else self._ids.mask_text(text)

    @contextmanager
    def logs(self) -> Iterator[None]:
        """Replace the ids in the texts of the library's log and errors, for the block."""
        handlers = [*logging.getLogger("aiomsi").handlers]
        for handler in handlers:
            handler.addFilter(self._mask_record)
        try:
            yield
        except AiomsiError as error:
            self._mask_error_texts(error)
            raise
        finally:
            for handler in handlers:
                handler.removeFilter(self._mask_record)

    def _mask_error_texts(self, error: AiomsiError) -> None:
        error.args = (self(str(error.args[0])), *error.args[1:])
        error.help = self(error.help)
        if isinstance(error, ArmError):
            error.details = tuple(map(self._mask_detail, error.details))
        if notes := getattr(error, "__notes__", None):
            error.__notes__ = [self(note) for note in notes]

    def _mask_detail(self, one: ErrorDetail) -> ErrorDetail:
        details = tuple(map(self._mask_detail, one.details))
        return attrs.evolve(one, message=self(one.message), details=details)

    def mask_manifest(self, manifest: Manifest) -> Manifest:
        """Return a manifest whose subscriptions and errors have no ids, for people."""
        if not self.is_on:
            return manifest
        subscriptions = tuple(map(self._mask_subscription, manifest.plan.subscriptions))
        return attrs.evolve(
            manifest,
            plan=attrs.evolve(manifest.plan, subscriptions=subscriptions),
            results=tuple(map(self._mask_result, manifest.results)),
        )

    def _mask_record(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self(record.getMessage()), ()
        return True

    def _mask_subscription(self, one: Subscription) -> Subscription:
        return attrs.evolve(one, id=self(one.id), name=None if one.name is None else self(one.name))

    def _mask_result(self, one: ScopeResult) -> ScopeResult:
        scope = attrs.evolve(one.scope, subscription_id=self(one.scope.subscription_id))
        return attrs.evolve(one, scope=scope, error=self._mask_error(one.error))

    def _mask_error(self, error: ScopeError | None) -> ScopeError | None:
        return None if error is None else attrs.evolve(error, message=self(error.message))
