"""What tests do to the embedded ARM: providers, resources, operations, lists, challenges; safe to use from any thread."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from aiomsi.testing._arm.call import Action, ArmState, EmptyPages
from aiomsi.testing._state.catalog import Provider, ProviderType
from aiomsi.testing._state.operations import (
    RUNNING,
    Kind,
    LongRunning,
    OperationView,
    Outcome,
    PollFault,
)
from aiomsi.testing._state.paths import ResourcePath, folded
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.resources import EtagStyle, Resource
from aiomsi.testing._state.tokens import TokenAuthority
from aiomsi.testing._state.world import ResourceGroup


class ArmControls:
    """The controls of `EmbeddedAzure` that are about ARM alone."""

    _arm: ArmState
    _authority: TokenAuthority

    def add_provider(
        self,
        namespace: str,
        types: Mapping[str, Iterable[str]],
        *,
        locations: Iterable[str] = LOCATIONS,
        registered: bool = True,
    ) -> None:
        """Add a resource provider, or types to one that is there.

        Arguments:
            namespace: for example ``"Contoso.Widgets"``. types: api-versions by type, for example
            ``{"widgets": ["2024-01-01"], "widgets/parts": ["2024-01-01"]}``. locations: the display
            names of the regions that it is served in; empty for types without a location.
            registered: whether subscriptions are registered for it.

        """
        places = tuple(locations)
        kinds = [ProviderType(name, tuple(versions), places) for name, versions in types.items()]
        self._arm.registry.add(Provider.of(namespace, kinds), registered=registered)

    def unregister_provider(
        self, namespace: str, subscription_id: str | None = None, *, polls: int = 1
    ) -> None:
        """Take a provider's registration away, so that its resources are answered 409 MissingSubscriptionRegistration.

        A client may register it anew: ``POST /subscriptions/{id}/providers/{namespace}/register``.

        Arguments:
            namespace: the provider. subscription_id: where, by default in all subscriptions. polls:
            how many GETs of the provider then still find it ``Registering``; holds for all
            providers.

        Raises:
            ValueError: there is no such provider.

        """
        if self._arm.registry.provider(namespace) is None:
            msg = f"There is no provider {namespace!r} here; add_provider() adds one"
            raise ValueError(msg)
        self._arm.registry.looks = polls
        self._arm.registry.forget(namespace, subscription_id)

    def add_resource(self, resource_id: str, document: Mapping[str, Any] | None = None) -> str:
        """Add a resource, or replace one, past ARM's checks; also the resource group, if there is none. Return its id.

        Raises:
            ValueError: the id is not one of a resource in a subscription, or its type is unknown.

        """
        path = ResourcePath.parse(resource_id)
        kind = None if path is None else self._arm.registry.type_of(path)
        if path is None or kind is None or not path.is_resource or path.subscription is None:
            msg = f"{resource_id!r} is not the id of a resource of a known type; add_provider() adds types"
            raise ValueError(msg)
        world, now = self._arm.world, self._arm.wall()
        group = world.group(path.subscription, path.group) if path.group is not None else None
        if path.group is not None and group is None:
            group = ResourceGroup(path.group)
            world.add_groups(path.subscription, [group])
        made = Resource(resource_id, f"{path.namespace}/{kind.name}", {}, now, now)
        made.write(
            {
                **({"location": group.location if group else "westus"} if kind.locations else {}),
                **(document or {}),
            },
            now,
        )
        self._arm.resources.put(made)
        return resource_id

    def resource(self, resource_id: str) -> dict[str, Any] | None:
        """Return a resource as a GET would, None if there is none; without moving its operation."""
        found = self._arm.resources.get(resource_id)
        return None if found is None else found.as_json(self._arm.etag_style(found.type))

    def long_running(
        self,
        resource_type: str,
        kind: Kind | None,
        *,
        methods: Iterable[str] = ("PUT",),
        polls: int | None = 1,
        seconds: float = 0.0,
        retry_after: float | None = None,
        outcome: Outcome = "Succeeded",
        error: Mapping[str, Any] | None = None,
        times: int | None = None,
        poll_fault: PollFault | None = None,
        poll_faults: int | None = 1,
        running_as: str = RUNNING,
        succeeded_as: str = "Succeeded",
        reason: Mapping[str, Any] | None = None,
        delayed: bool = False,
        with_resource: bool = False,
    ) -> None:
        """Let requests of a resource type become long-running operations, or be answered at once.

        Arguments:
            resource_type: for example ``"Microsoft.Compute/virtualMachines"``; that of groups is
                ``"Microsoft.Resources/resourceGroups"``.
            kind: where the operation is told of. ``"azure-async-operation"``: PUT answers 201 or
                200 with that header, others 202; ``"location"``: 202 with that header; ``"both"``;
                ``"own-path"``: 202 and ``Location`` is the resource's own path with ``asyncId`` and
                ``asyncCode``, as with API Management; ``"provisioning-state"``: only the resource
                tells; ``"accepted"``: the same, and the answer is 202 without a body. None answers
                at once.
            methods: of the requests: PUT, PATCH, DELETE, POST (actions). polls: how many looks, at
            the operation or at the resource, find it running; None for all until
                `finish_operations`.
            seconds: for how long it runs at least, by the embedded Azure's clock. retry_after: what
            ``Retry-After`` asks for while it runs; None leaves the header out. outcome: how it
            ends. error: the error of one that does not succeed: ``code``, ``message`` and what else
            there is to tell.
            times: for so many requests of each method; None for all.
            poll_fault: how the first polls of the record or the result go wrong, while the
                operation goes on: ``"missing"`` (404), ``"subscription-missing"`` (404),
                ``"forbidden"`` (403), ``"unavailable"`` (503), ``"stateless"`` (a record without
                ``status``), ``"null-state"``, ``"running"`` (200 with a running record, also where
                `Location` leads), ``"resource"`` (the resource in place of the record), ``"list"``,
                ``"empty"``, ``"html"``, ``"cut"``.
            poll_faults: how many polls do; None for all. They do not count in `polls`. running_as:
            the record's state while it runs, for example ``"SucceededWithErrors"``. succeeded_as:
            the resource's state after success, for types that have a word of their own; empty for
            none. reason: members of the resource's properties after a failure, for example
            ``{"errorMessage": "..."}``; the record
                then has no ``error``.
            delayed: show the resource as it was until the end: an update is not seen, a deletion is
            not ``Deleting``.
            with_resource: answer a DELETE 200 with the resource where no ``Location`` tells of it.

        Raises:
            ValueError: `kind`, `outcome` or `poll_fault` is unknown, or `polls` or `poll_faults` is
                less than 0.

        Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations

        """
        if (kind is not None and kind not in get_args(Kind)) or outcome not in get_args(Outcome):
            msg = f"kind is one of {', '.join(get_args(Kind))}, and outcome one of {', '.join(get_args(Outcome))}"
            raise ValueError(msg)
        if poll_fault is not None and poll_fault not in get_args(PollFault):
            msg = f"poll_fault is one of {', '.join(get_args(PollFault))}"
            raise ValueError(msg)
        for name, number in (("polls", polls), ("poll_faults", poll_faults)):
            if number is not None and number < 0:
                msg = f"{name} is 0 at least, or None, and is {number!r}"
                raise ValueError(msg)
        rule = None
        if kind is not None:
            rule = LongRunning(
                kind,
                polls,
                seconds,
                retry_after,
                outcome,
                error,
                poll_fault=poll_fault,
                poll_faults=poll_faults,
                running_as=running_as,
                succeeded_as=succeeded_as,
                reason=reason,
                delayed=delayed,
                with_resource=with_resource,
            )
        for method in methods:
            self._arm.operations.set_rule(resource_type, method.upper(), rule, times)

    @property
    def operations(self) -> tuple[OperationView, ...]:
        """All long-running operations so far, oldest first."""
        return self._arm.operations.views()

    def finish_operations(self) -> int:
        """End all operations that are under way, as they are to end, and return how many there were."""
        return self._arm.operations.finish()

    def set_etag_style(self, resource_type: str, style: EtagStyle) -> None:
        """Let a resource type write its etags ``"quoted"`` (the default), ``"weak"`` (``W/"..."``) or ``"unquoted"``."""
        self._arm.etag_styles[resource_type.lower()] = style

    def set_action(
        self, resource_type: str, action: str, result: object = None, *, status: int = 200
    ) -> None:
        """Let an action of a resource type, or of a namespace, answer a POST with a JSON value, or with no body for None.

        ``start``, ``restart``, ``stop``, ``powerOff``, ``deallocate``, ``listKeys`` and
        ``regenerateKey`` answer anyway.
        """
        self._arm.actions[resource_type.lower(), action.lower()] = Action(status, result)

    def set_list_action(
        self, resource_type: str, action: str, items: Iterable[object], *, next_method: str = "GET"
    ) -> None:
        """Let an action of a resource type, or of a namespace, answer a POST with a list, in pages.

        Arguments:
            resource_type: for example ``"PaloAltoNetworks.Cloudngfw/localRulestacks"``. action: for
            example ``"listAppIds"``. items: all of them. next_method: what further pages take,
            ``"GET"`` or ``"POST"``; the other one is answered 405.

        Raises:
            ValueError: `next_method` is neither.

        """
        if next_method not in ("GET", "POST"):
            msg = f"next_method is 'GET' or 'POST', and not {next_method!r}"
            raise ValueError(msg)
        made = Action(200, items=tuple(items), next_method=next_method)
        self._arm.actions[resource_type.lower(), action.lower()] = made

    def add_document(self, path: str, document: Mapping[str, Any]) -> None:
        """Answer a GET of exactly this path with a JSON object, for example at an id with an empty segment."""
        self._arm.documents[folded(path)] = dict(document)

    def limit_graph_payload(self, most_bytes: int) -> None:
        """Let Resource Graph refuse a page whose rows have more bytes, as ``ResponsePayloadTooLarge``; at first 16 MiB."""
        self._arm.graph_trouble.most_bytes = most_bytes

    def make_graph_pages_unstable(self, unstable: bool = True) -> None:  # reads as intended
        """Let each further page of an unsorted query repeat a row of the page before, and so miss another one."""
        self._arm.graph_trouble.unstable = unstable

    def hold_back_graph_rows(self, number: int) -> None:
        """Let so many of a query's last rows never come, although ``totalRecords`` counts them and no token is given."""
        self._arm.graph_trouble.held_back = number

    def use_up_graph_quota(self, seconds: float) -> None:
        """Let the next query of each principal be the last one that its quota allows for so many seconds.

        Further ones are answered 429 where limits are enforced.
        """
        self._arm.graph_trouble.quota_ends = self._arm.monotonic() + seconds
        self._arm.graph_quotas.clear()

    def add_empty_pages(self, number: int = 1, path: str | None = None) -> None:
        """Put so many empty pages, with a link to the next, before each page of lists; the latest rule that fits counts.

        Arguments:
            number: how many; 0 for none.
            path: a regular expression that path and query must contain, None for all lists.

        """
        rule = EmptyPages(number, None if path is None else re.compile(path))
        self._arm.empty_pages = (rule, *self._arm.empty_pages)

    def challenge_tokens(self, claims: Mapping[str, Any] | None = None) -> None:
        """Answer every token issued so far 401 ``insufficient_claims``, until IMDS is asked for a new one.

        Source: https://learn.microsoft.com/entra/identity-platform/claims-challenge

        Arguments:
            claims: what the challenge asks for; by default a token that was issued after this
            moment.

        """
        now = str(int(self._arm.wall()))
        asked = claims or {"access_token": {"nbf": {"essential": True, "value": now}}}
        self._authority.challenge_all(json.dumps(asked, separators=(",", ":")))
