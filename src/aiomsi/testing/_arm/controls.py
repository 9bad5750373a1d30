"""`EmbeddedArm`: the controls of the embedded ARM."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from aiomsi.testing._arm.call import Action, ArmState, EmptyPages
from aiomsi.testing._arm.services.children import put_resource_and_children
from aiomsi.testing._arm.tenant.group_controls import EmbeddedManagementGroups
from aiomsi.testing._arm.tenant.troubles import give_troubles
from aiomsi.testing._limits.arm_limits import ArmLimits, BucketKind, check_kind
from aiomsi.testing._limits.graph_controls import EmbeddedGraph
from aiomsi.testing._limits.throttle import ArmUsage
from aiomsi.testing._server.endpoint import Endpoint
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._state.azure_state import (
    SYSTEM_ASSIGNED,
    Identity,
    ResourceGroup,
    Role,
    Subscription,
)
from aiomsi.testing._state.catalog import Provider, ProviderType
from aiomsi.testing._state.generated_tenant import GeneratedTenant
from aiomsi.testing._state.operation_store import (
    RUNNING,
    FinalStatus,
    OperationKind,
    OperationRule,
    OperationView,
    PollFault,
)
from aiomsi.testing._state.paths import ResourcePath, fold_path
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.resource_store import EtagStyle, Resource
from aiomsi.testing._state.tokens import TokenAuthority


class EmbeddedArm(Endpoint):
    """The embedded ARM: `EmbeddedAzure.arm`.

    Attributes:
        graph: the embedded Resource Graph.
        management_groups: the tree of management groups.

    """

    def __init__(
        self,
        context: ServiceContext,
        servers: Servers,
        state: ArmState,
        authority: TokenAuthority,
    ) -> None:
        super().__init__("arm", context, servers)
        self._state = state
        self._authority = authority
        self.graph: EmbeddedGraph = EmbeddedGraph(state)
        self.management_groups: EmbeddedManagementGroups = EmbeddedManagementGroups(state)

    @property
    def subscription_ids(self) -> tuple[str, ...]:
        """The ids of all subscriptions."""
        return tuple(held.subscription_id for held in self._state.azure.subscriptions())

    def add_subscription(
        self, subscription_id: str | None = None, subscription: Subscription | None = None
    ) -> str:
        """Add a subscription, or replace one, and return its id.

        Raises:
            ValueError: the id is not a GUID.

        """
        chosen = str(uuid.uuid4()) if subscription_id is None else subscription_id
        self._state.azure.add_subscription(chosen, subscription or Subscription())
        return chosen

    def change_subscription(self, subscription_id: str, **changes: Any) -> None:
        """Change attributes of a subscription, which may be a generated one.

        Args:
            subscription_id: id of the subscription.
            changes: `state`, `quota_id`, `managed_by`, `tags`, `listed_only`, `display_name` or
                `tenant_id`, as in `Subscription`.

        Raises:
            ValueError: the subscription does not exist, or a state is unknown.
            TypeError: there is no such attribute.

        """
        self._state.azure.change_subscription(subscription_id, changes)

    def generate(
        self, *, subscriptions: int = 1_000, resources: int = 1_000_000, seed: int = 1
    ) -> tuple[str, ...]:
        """Add generated subscriptions, in place of earlier ones, and return their ids.

        Their groups and resources are computed when they are read, and take no memory. Most of the
        subscriptions are small, and a few hold most of the resources. All lists are sorted by id.
        The same arguments always give the same tenant.

        The subscriptions are read-only: ARM responds 409 ``ScopeLocked`` to any write.

        Args:
            subscriptions: number of subscriptions.
            resources: number of resources of all of them.
            seed: seed of ids, names, sizes, types, locations and tags.

        Raises:
            ValueError: `subscriptions` is less than 1, or `resources` negative.

        """
        tenant = GeneratedTenant(subscriptions, resources, seed)
        self._state.azure.set_generated(tenant.subscriptions)
        self._state.resources.generated = tenant
        return tuple(one.subscription_id for one in tenant.subscriptions)

    def add_troubles(self, seed: int = 1) -> dict[str, str]:
        """Give each trouble of large tenants to one generated subscription; return their ids.

        The keys are the troubles: ``forbidden`` (403), ``listed-only`` (404), ``wrong-tenant``
        (401), ``failing`` (500), ``throttled`` (429), ``page-lost`` (500 from the second page on),
        ``link-repeats``, ``body-cut``, ``group-denied`` (one group is missing, without a sign),
        ``graph-hidden`` (no rows in Resource Graph), ``graph-loses-rows``, ``delegated`` (of
        another tenant, by Azure Lighthouse), ``warned``, ``past-due``, ``disabled``, ``expired``
        and ``deleted``. The troubles of pages are in the largest subscriptions, and need a
        `page_size` or ``$top`` below their size.

        `EmbeddedAzure.clear_faults` ends those that are faults of HTTP.

        Args:
            seed: seed of the choice of the other subscriptions.

        Raises:
            ValueError: too few subscriptions are generated.

        """
        tenant = self._state.resources.generated
        subscriptions = tenant.subscriptions if isinstance(tenant, GeneratedTenant) else ()
        return give_troubles(self, subscriptions, seed)

    def add_resource_groups(
        self,
        subscription_id: str,
        count_or_names: int | Iterable[str],
        *,
        location: str = "westus",
        tags: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Add resource groups, by name or as a number of new ones, and return their names.

        Raises:
            ValueError: the subscription is unknown.

        """
        names: tuple[str, ...]
        if isinstance(count_or_names, int):
            first = self._state.azure.group_count(subscription_id)
            names = tuple(f"group-{number:05}" for number in range(first, first + count_or_names))
        else:
            names = tuple(count_or_names)
        self._state.azure.add_groups(
            subscription_id, (ResourceGroup(name, location, tags or {}) for name in names)
        )
        return names

    def remove_resource_group(self, subscription_id: str, name: str) -> None:
        """Remove a resource group and all its resources at once.

        Raises:
            ValueError: the subscription or the group is unknown.

        """
        self._state.azure.remove_group(subscription_id, name)
        self._state.resources.remove(f"/subscriptions/{subscription_id}/resourceGroups/{name}")

    def grant(self, object_id: str, scope: str = "/", role: Role = "Reader") -> None:
        """Grant a principal a role at a scope and at all scopes within it.

        Args:
            object_id: the object id of the principal.
            scope: the path of the scope; ``"/"`` contains every scope.
            role: ``"Reader"`` or ``"Contributor"``.

        """
        self._state.azure.grant(object_id, scope, role)

    def revoke(self, object_id: str, scope: str = "/") -> None:
        """Remove the role that `grant` gave a principal at a scope.

        Raises:
            ValueError: the principal was not granted a role at exactly this scope.

        """
        self._state.azure.revoke(object_id, scope)

    def deny(self, scope: str, identity: Identity = SYSTEM_ASSIGNED) -> None:
        """Deny a principal everything at a scope and inside it, whatever its roles are.

        Requests get 403 ``AuthorizationFailed``; lists of outer scopes and Resource Graph omit what
        is inside, without a sign. The list of subscriptions still shows a denied one.
        """
        self._state.azure.deny(identity.object_id, scope)

    def allow(self, scope: str, identity: Identity = SYSTEM_ASSIGNED) -> None:
        """Remove a denial.

        Raises:
            ValueError: the principal is not denied anything at exactly this scope.

        """
        self._state.azure.allow(identity.object_id, scope)

    def add_provider(
        self,
        namespace: str,
        types: Mapping[str, Iterable[str]],
        *,
        locations: Iterable[str] = LOCATIONS,
        registered: bool = True,
    ) -> None:
        """Add a resource provider, or add types to a known one.

        Args:
            namespace: namespace of the provider, for example ``"Contoso.Widgets"``.
            types: api-versions by type, for example
                ``{"widgets": ["2024-01-01"], "widgets/parts": ["2024-01-01"]}``.
            locations: display names of the regions that serve the types; empty for types without a
                location.
            registered: whether the provider is registered in all subscriptions.

        """
        places = tuple(locations)
        kinds = [ProviderType(name, tuple(versions), places) for name, versions in types.items()]
        self._state.registry.add(Provider.of(namespace, kinds), registered=registered)

    def unregister_provider(
        self, namespace: str, subscription_id: str | None = None, *, polls: int = 1
    ) -> None:
        """Remove a provider's registration.

        Requests for its resources then get a 409 MissingSubscriptionRegistration.
        A client can register the provider with
        ``POST /subscriptions/{id}/providers/{namespace}/register``.

        Args:
            namespace: namespace of the provider.
            subscription_id: id of the subscription; None for all subscriptions.
            polls: number of GETs of the provider that find it ``Registering`` after a client has
                registered it; applies to all providers.

        Raises:
            ValueError: the provider is unknown.

        """
        if self._state.registry.provider(namespace) is None:
            msg = f"The provider {namespace!r} is unknown here; add_provider() adds one"
            raise ValueError(msg)
        self._state.registry.polls = polls
        self._state.registry.forget(namespace, subscription_id)

    def add_resource(self, resource_id: str, document: Mapping[str, Any] | None = None) -> str:
        """Add or replace a resource without ARM's checks, and return its id.

        The resource group is added if it does not exist.

        Raises:
            ValueError: the id is not that of a resource in a subscription, its type is unknown, or
                the subscription is a generated one.

        """
        path = ResourcePath.parse(resource_id)
        kind = None if path is None else self._state.registry.type_of(path)
        if path is None or kind is None or not path.is_resource or path.subscription is None:
            msg = (
                f"{resource_id!r} is not the id of a resource of a known type; "
                "add_provider() adds types"
            )
            raise ValueError(msg)
        azure, now = self._state.azure, self._state.wall()
        if azure.is_generated(path.subscription):
            msg = f"{resource_id!r} is in a generated subscription, which is read-only"
            raise ValueError(msg)
        group = azure.group(path.subscription, path.group) if path.group is not None else None
        if path.group is not None and group is None:
            group = ResourceGroup(path.group)
            azure.add_groups(path.subscription, [group])
        resource = Resource(resource_id, f"{path.namespace}/{kind.name}", {}, now, now)
        resource.write(
            {
                **({"location": group.location if group else "westus"} if kind.locations else {}),
                **(document or {}),
            },
            now,
        )
        put_resource_and_children(self._state.resources, resource)
        return resource_id

    def resource(self, resource_id: str) -> dict[str, Any] | None:
        """Return the document that a GET of a resource returns; None if it does not exist.

        The call does not count as a poll of an operation.
        """
        found = self._state.resources.get(resource_id)
        return None if found is None else found.as_json(self._state.etag_style(found.type))

    def long_running(
        self,
        resource_type: str,
        kind: OperationKind | None,
        *,
        methods: Iterable[str] = ("PUT",),
        polls: int | None = 1,
        seconds: float = 0.0,
        retry_after: float | None = None,
        outcome: FinalStatus = "Succeeded",
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
        """Make requests of a resource type start long-running operations, or start none.

        Args:
            resource_type: type of the resource, for example
                ``"Microsoft.Compute/virtualMachines"``; for a resource group
                ``"Microsoft.Resources/resourceGroups"``.
            kind: header or state through which a client follows the operation.
                ``"azure-async-operation"``: that header, in a 201 or 200 to PUT, else in a 202;
                ``"location"``: that header, in a 202; ``"both"``: both headers;
                ``"own-path"``: ``Location`` is the resource's own path with ``asyncId`` and
                ``asyncCode``, as with API Management, in a 202; ``"provisioning-state"``: only the
                resource's state; ``"accepted"``: the same, after a 202 without a body. None: the
                request starts no operation.
            methods: methods of the requests: PUT, PATCH, DELETE, POST (actions).
            polls: number of polls, of the operation or the resource, that find it running; None
                for all until `finish_operations`.
            seconds: seconds that the operation runs at least, on the embedded Azure's clock.
            retry_after: value of ``Retry-After`` while the operation runs; None omits the header.
            outcome: final status of the operation.
            error: error of an operation that does not succeed, with ``code``, ``message`` and any
                further members.
            times: number of requests of each method that the rule applies to; None for all.
            poll_fault: fault of the first polls of the record or the result, while the operation
                continues: ``"missing"`` (404), ``"subscription-missing"`` (404), ``"forbidden"``
                (403), ``"unavailable"`` (503), ``"stateless"`` (a record without ``status``),
                ``"null-state"``, ``"running"`` (200 with a running record, even for a poll of the
                `Location`), ``"resource"`` (the resource in place of the record), ``"list"``,
                ``"empty"``, ``"html"``, ``"cut"``.
            poll_faults: number of polls that have the fault; None for all. They do not count
                against `polls`.
            running_as: status in the record while the operation runs, for example
                ``"SucceededWithErrors"``.
            succeeded_as: ``provisioningState`` of the resource after success, for types with a
                special word; empty for none.
            reason: members of the resource's properties after a failure, for example
                ``{"errorMessage": "..."}``; the record then has no ``error``.
            delayed: whether the resource shows the change only after the end: until then a GET
                returns the old document, and a deleted resource is not ``Deleting``.
            with_resource: whether the response to a DELETE is 200 with the resource, for kinds
                without a ``Location``.

        Raises:
            ValueError: `kind`, `outcome` or `poll_fault` is unknown, or `polls` or `poll_faults`
                is less than 0.

        Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations

        """
        if (kind is not None and kind not in get_args(OperationKind)) or outcome not in get_args(
            FinalStatus
        ):
            msg = (
                f"kind must be one of {', '.join(get_args(OperationKind))}, "
                f"and outcome one of {', '.join(get_args(FinalStatus))}"
            )
            raise ValueError(msg)
        if poll_fault is not None and poll_fault not in get_args(PollFault):
            msg = f"poll_fault must be one of {', '.join(get_args(PollFault))}"
            raise ValueError(msg)
        for name, number in (("polls", polls), ("poll_faults", poll_faults)):
            if number is not None and number < 0:
                msg = f"{name} must be at least 0, or None, and is {number!r}"
                raise ValueError(msg)
        rule = None
        if kind is not None:
            rule = OperationRule(
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
            self._state.operations.set_rule(resource_type, method.upper(), rule, times)

    @property
    def operations(self) -> tuple[OperationView, ...]:
        """All long-running operations so far, oldest first."""
        return self._state.operations.list_views()

    def finish_operations(self) -> int:
        """End all running operations with their outcome, and return their number."""
        return self._state.operations.finish_all()

    def set_etag_style(self, resource_type: str, style: EtagStyle) -> None:
        """Set the style of a resource type's etags: ``"quoted"``, ``"weak"`` or ``"unquoted"``.

        The default is ``"quoted"``; a weak etag is ``W/"..."``.
        """
        self._state.etag_styles[resource_type.lower()] = style

    def set_action(
        self, resource_type: str, action: str, result: object = None, *, status: int = 200
    ) -> None:
        """Set the response to the POST of an action: a JSON value, or no body for None.

        The action is one of a resource type or of a namespace. ``start``, ``restart``, ``stop``,
        ``powerOff``, ``deallocate``, ``redeploy``, ``reapply``, ``listKeys`` and ``regenerateKey``
        of resources have a response by default.
        """
        self._state.actions[resource_type.lower(), action.lower()] = Action(status, result)

    def set_list_action(
        self, resource_type: str, action: str, items: Iterable[object], *, next_method: str = "GET"
    ) -> None:
        """Set the response to the POST of an action: a list, in pages.

        Args:
            resource_type: type or namespace that has the action, for example
                ``"PaloAltoNetworks.Cloudngfw/localRulestacks"``.
            action: name of the action, for example ``"listAppIds"``.
            items: items of all pages.
            next_method: method that further pages require, ``"GET"`` or ``"POST"``; the other one
                gets 405.

        Raises:
            ValueError: `next_method` is neither ``"GET"`` nor ``"POST"``.

        """
        if next_method not in ("GET", "POST"):
            msg = f"next_method must be 'GET' or 'POST', and is {next_method!r}"
            raise ValueError(msg)
        response = Action(200, items=tuple(items), next_method=next_method)
        self._state.actions[resource_type.lower(), action.lower()] = response

    def add_document(self, path: str, document: Mapping[str, Any]) -> None:
        """Set the JSON object that a GET of exactly this path returns.

        An example is the path of an id with an empty segment.
        """
        self._state.documents[fold_path(path)] = dict(document)

    def add_empty_pages(self, number: int = 1, path: str | None = None) -> None:
        """Put empty pages with a next link before each page of lists.

        Of several rules that match a list, the latest applies.

        Args:
            number: number of empty pages.
            path: regular expression that the path and query of the list must contain; None for
                all lists.

        """
        rule = EmptyPages(number, None if path is None else re.compile(path))
        self._state.empty_pages = (rule, *self._state.empty_pages)

    def expire_skip_tokens(self, seconds: float | None) -> None:
        """Reject a next link of a list `seconds` after its page; None for never.

        The response is 400 ``InvalidSkipToken``. Links of earlier pages expire at once.
        """
        self._state.token_seconds = seconds

    def repeat_pages(self, path: str) -> None:
        """Let each next link of some lists lead to the same page again.

        Args:
            path: regular expression that the path and query of the list must contain.

        """
        self._state.repeated_pages = (*self._state.repeated_pages, re.compile(path))

    def challenge_tokens(self, claims: Mapping[str, Any] | None = None) -> None:
        """Reject every token issued so far with a 401 ``insufficient_claims``.

        Tokens that IMDS issues later are valid.

        Source: https://learn.microsoft.com/entra/identity-platform/claims-challenge

        Args:
            claims: claims of the challenge; by default those of a token issued after this moment.

        """
        now = str(int(self._state.wall()))
        required = claims or {"access_token": {"nbf": {"essential": True, "value": now}}}
        self._authority.challenge_all(json.dumps(required, separators=(",", ":")))

    @property
    def limits(self) -> ArmLimits:
        """The limits of ARM, which may be replaced while the servers run.

        Token buckets then keep their levels, at most the new size; all windows begin anew, and the
        times of `OtherClient` count from that moment.

        Source:
        https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
        """
        return self._state.throttle.limits

    @limits.setter
    def limits(self, limits: ArmLimits) -> None:
        self._state.throttle.set_limits(limits)
        self._state.graph_quotas.clear()

    def draw_tokens(
        self,
        number: float,
        subscription_id: str | None = None,
        kind: BucketKind = "reads",
        *,
        region: str | None = None,
        identity: Identity = SYSTEM_ASSIGNED,
    ) -> None:
        """Take tokens from a bucket at once, as a burst of another client would.

        Args:
            number: tokens to take; a bucket that has fewer is empty afterwards.
            subscription_id: id of the subscription; None for the tenant's bucket.
            kind: class of the bucket: ``"reads"``, ``"writes"`` or ``"deletes"``.
            region: region of ARM's front door; None for all of them.
            identity: the principal that has the bucket.

        Raises:
            ValueError: the number is negative, or the subscription, class or region is unknown.

        """
        if subscription_id is not None:
            self._state.azure.subscription(subscription_id)
        self._state.throttle.draw(number, subscription_id, kind, region, identity.object_id)

    @property
    def usages(self) -> tuple[ArmUsage, ...]:
        """The counts since the start or `reset_counts`, by subscription, region and class."""
        return self._state.throttle.list_usage()

    def usage(
        self,
        subscription_id: str | None = None,
        *,
        region: str | None = None,
        kind: BucketKind | None = None,
    ) -> ArmUsage:
        """Return the sum of the counts that match all arguments; None matches each one.

        Raises:
            ValueError: the subscription, region or class is unknown.

        """
        if kind is not None:
            check_kind(kind)
        if region is not None:
            self._state.throttle.check_region(region)
        wanted = None if subscription_id is None else subscription_id.lower()
        usages = self.usages
        if subscription_id is not None and all(one.subscription_id != wanted for one in usages):
            self._state.azure.subscription(subscription_id)
        found = [
            usage
            for usage in usages
            if wanted in (None, usage.subscription_id)
            and region in (None, usage.region)
            and kind in (None, usage.kind)
        ]
        return ArmUsage(
            sum(usage.requests for usage in found),
            sum(usage.refused for usage in found),
            sum(usage.refused_by_providers for usage in found),
            wanted,
            region,
            kind,
        )
