"""`IdMask`: ids of subscriptions and tenants, replaced by numbers. No I/O."""

from __future__ import annotations

import re

import attrs

from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._row import Row

_FORM = r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"
_GUID = re.compile(_FORM, re.ASCII | re.IGNORECASE)
_ID = re.compile(f"(/subscriptions/)({_FORM})", re.ASCII | re.IGNORECASE)
_SEGMENT = 2
"""The segment of a resource's id that is the id of the subscription."""


@attrs.define(eq=False, repr=False)
class IdMask:
    """Masks for ids: equal ids get equal masks, and different ids different ones.

    A mask has the number of the subscription in the plan, and no trace of the id, so that it can't
    be guessed from the report.
    """

    _masks: dict[str, str] = attrs.field(factory=dict)
    _subscriptions: int = 0
    _tenants: int = 0

    def mask_subscription(self, id_: str) -> str:
        """Return the mask of a subscription."""
        if _flatten(id_) not in self._masks:
            self._subscriptions += 1
            self._masks[_flatten(id_)] = f"subscription-{self._subscriptions:04}"
        return self._masks[_flatten(id_)]

    def mask_tenant(self, id_: str) -> str:
        """Return the mask of a tenant."""
        if _flatten(id_) not in self._masks:
            self._tenants += 1
            self._masks[_flatten(id_)] = f"tenant-{self._tenants:02}"
        return self._masks[_flatten(id_)]

    def mask_text(self, text: str) -> str:
        """Return a text with masks in the place of known ids, and of those in paths."""
        if _flatten(text) in self._masks:
            return self._masks[_flatten(text)]
        text = _ID.sub(lambda found: found[1] + self.mask_subscription(found[2]), text)
        return _GUID.sub(lambda found: self._masks.get(_flatten(found[0]), found[0]), text)

    def mask_row(self, row: Row) -> Row:
        """Return a row whose columns in the report hold masks."""
        tags = row["tags"]
        return row | {
            "id": self._mask_id(row["id"]),
            "name": self._mask_optional(row["name"]),
            "resource_group": self._mask_optional(row["resource_group"]),
            "subscription_id": self.mask_subscription(row["subscription_id"]),
            "subscription_name": self._mask_optional(row["subscription_name"]),
            "tenant_id": row["tenant_id"] and self.mask_tenant(row["tenant_id"]),
            "sku_name": self._mask_optional(row["sku_name"]),
            "tags": tags
            and {self.mask_text(name): self._mask_optional(value) for name, value in tags.items()},
        }

    def _mask_id(self, id_: str) -> str:
        segments = id_.split("/")
        if len(segments) > _SEGMENT and segments[_SEGMENT - 1].lower() == "subscriptions":
            segments[_SEGMENT] = self.mask_subscription(segments[_SEGMENT])
        return self.mask_text("/".join(segments))

    def _mask_optional(self, text: str | None) -> str | None:
        return None if text is None else self.mask_text(text)


def make_mask(manifest: Manifest) -> IdMask:
    """Return the masks of a plan's subscriptions, in its order, and of their tenants."""
    mask = IdMask()
    for one in manifest.plan.subscriptions:
        mask.mask_subscription(one.id)
    tenants = [
        tenant
        for one in manifest.plan.subscriptions
        for tenant in (one.tenant_id, *one.managed_by_tenants)
    ]
    identity = manifest.plan.identity
    tenants += [value for name, value in identity.items() if "tenant" in name.lower()]
    for tenant in tenants:
        if tenant:
            mask.mask_tenant(tenant)
    return mask


def _flatten(id_: str) -> str:
    return id_.replace("-", "").lower()
