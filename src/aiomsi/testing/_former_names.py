"""`FormerNames`: the former names of controls that were on `EmbeddedAzure` itself."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any

from aiomsi.testing._server.faults import Fault, Hold
from aiomsi.testing._server.request_log import check_service


class FormerName:
    """A former attribute, which warns and stands for an attribute of a part.

    Args:
        path: the present name, for example ``"arm.add_resource"``.

    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, azure: object, owner: type | None = None) -> Any:
        """Return the attribute of the part; the name itself for the class."""
        if azure is None:
            return self
        _warn(self._name, self._path)
        return attrgetter(self._path)(azure)

    def __set__(self, azure: object, value: object) -> None:
        """Set the attribute of the part."""
        _warn(self._name, self._path)
        part, _, name = self._path.rpartition(".")
        setattr(attrgetter(part)(azure), name, value)


class FormerNames:
    """The former names; each one raises a `DeprecationWarning` and works as before."""

    imds_url: FormerName = FormerName("imds.url")
    identities: FormerName = FormerName("imds.identities")
    assign_identity: FormerName = FormerName("imds.assign_identity")
    remove_identity: FormerName = FormerName("imds.remove_identity")
    set_token_lifetime: FormerName = FormerName("imds.set_token_lifetime")
    repeat_tokens: FormerName = FormerName("imds.repeat_tokens")
    issue_token: FormerName = FormerName("imds.issue_token")
    revoke_tokens: FormerName = FormerName("imds.revoke_tokens")

    arm_url: FormerName = FormerName("arm.url")
    add_subscription: FormerName = FormerName("arm.add_subscription")
    generate: FormerName = FormerName("arm.generate")
    add_resource_groups: FormerName = FormerName("arm.add_resource_groups")
    remove_resource_group: FormerName = FormerName("arm.remove_resource_group")
    grant: FormerName = FormerName("arm.grant")
    revoke: FormerName = FormerName("arm.revoke")
    add_provider: FormerName = FormerName("arm.add_provider")
    unregister_provider: FormerName = FormerName("arm.unregister_provider")
    add_resource: FormerName = FormerName("arm.add_resource")
    resource: FormerName = FormerName("arm.resource")
    long_running: FormerName = FormerName("arm.long_running")
    operations: FormerName = FormerName("arm.operations")
    finish_operations: FormerName = FormerName("arm.finish_operations")
    set_etag_style: FormerName = FormerName("arm.set_etag_style")
    set_action: FormerName = FormerName("arm.set_action")
    set_list_action: FormerName = FormerName("arm.set_list_action")
    add_document: FormerName = FormerName("arm.add_document")
    add_empty_pages: FormerName = FormerName("arm.add_empty_pages")
    challenge_tokens: FormerName = FormerName("arm.challenge_tokens")
    arm_limits: FormerName = FormerName("arm.limits")
    draw_tokens: FormerName = FormerName("arm.draw_tokens")
    arm_usages: FormerName = FormerName("arm.usages")
    arm_usage: FormerName = FormerName("arm.usage")
    limit_graph_payload: FormerName = FormerName("arm.graph.limit_payload")
    make_graph_pages_unstable: FormerName = FormerName("arm.graph.make_pages_unstable")
    hold_back_graph_rows: FormerName = FormerName("arm.graph.hold_back_rows")
    use_up_graph_quota: FormerName = FormerName("arm.graph.use_up_quota")

    def inject(
        self, service: str, fault: Fault, times: int | None = 1, path: str | None = None
    ) -> None:
        """Make requests to ``"imds"`` or ``"arm"`` fail: the former name of `Endpoint.inject`."""
        check_service(service)
        _warn("inject", f"{service}.inject")
        getattr(self, service).inject(fault, times, path)

    def hold(self, service: str) -> AbstractContextManager[Hold]:
        """Delay the responses of ``"imds"`` or ``"arm"``: the former name of `Endpoint.hold`."""
        check_service(service)
        _warn("hold", f"{service}.hold")
        held: AbstractContextManager[Hold] = getattr(self, service).hold()
        return held


def _warn(former: str, path: str) -> None:
    msg = f"EmbeddedAzure.{former} is now EmbeddedAzure.{path}"
    warnings.warn(msg, DeprecationWarning, stacklevel=3)
