"""`Kinds`: the limits that a request draws from, and their counts in its response. No I/O.

A request's `Kind` is its verb, its resource type, and whether it names one resource or many. Before
the first response of a kind, its limit is a guess: ARM's bucket for the class of its verb. From
then on, its limits are those that its last good response named, in all subscriptions. A
`ScopedKind` is a kind in one scope: it has the limits as the keys of meters.

A warm GET passes here twice, so both `find` and `read_counts` have a short way: the former
looks up the URL of the resource's parent, the latter reads the headers that the last response of
the kind had.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs
from multidict import istr

from aiomsi._arm.protocol.api_versions import find_resource_type
from aiomsi._arm.protocol.limits import Remaining, iter_remaining
from aiomsi._arm.protocol.pacing.lane import Lane
from aiomsi._arm.protocol.pacing.pacer import Count
from aiomsi._arm.protocol.retry import is_read

Operation: TypeAlias = Literal["reads", "writes", "deletes"]

_ROUTING_ID = istr("x-ms-routing-request-id")
"""``EASTUS2:20260622T075512Z:...`` begins with the front-door region that the request entered."""
_PREFIX = "x-ms-ratelimit-remaining-"
_POLICIES = f"{_PREFIX}resource"
_OPERATIONS = frozenset({"reads", "writes", "deletes"})
_USER_QUOTA = "user-quota"
_GRAPH = "raph="
"""The end of a parameter that may be `_BY_GRAPH`, in any usual spelling."""
_BY_GRAPH = "useresourcegraph=true"
"""Resource Graph serves a GET with this parameter, and its quota counts it."""
_MOST_KINDS = 4_096
_MOST_SCOPED = 8_192
"""`ScopedKind`s in memory, about 8 MB. A dropped one is found again within some microseconds."""
_MOST_NOTES = 1_024
_STALE = -1
"""The version of a `ScopedKind` whose scope has other limits by now."""
_READ_ALL_EVERY = 64
"""Responses of a `ScopedKind`, of which one is searched for limits that the others lack."""
_SEARCH_EVERY = 8
"""The same while no response of the kind has named a limit, and for the global limit."""
_MOST_DIGITS = 10
_LONGEST_REGION = 30
_ROOT_SLASHES = 4


class Limit(NamedTuple):
    """A limit of ARM or of a resource provider; the key of its meter.

    Attributes:
        scope: the id of the subscription, in lower case; empty for the tenant.
        name: the limit's name, for example ``"subscription-reads"``, ``"user-quota"``, or
            Compute's policy ``"LowCostGet3Min"``. A limit that only a 429 has shown is named after
            the request, for example ``"GET microsoft.web/sites"``.
        owner: the resource type, in lower case, if the service counts the limit by type; else
            empty.

    """

    scope: str
    name: str
    owner: str = ""

    @property
    def is_of_arm(self) -> bool:
        """Return whether the limit is one of ARM's own buckets."""
        return self.name.rpartition("-")[2] in _OPERATIONS

    def __str__(self) -> str:
        scope = f"subscription {self.scope}" if self.scope else "the tenant"
        return f"{self.name}{f' of {self.owner}' if self.owner else ''} in {scope}"


@attrs.frozen
class Draw:
    """A limit that a kind draws from, in whatever scope.

    Attributes:
        name: as `Limit.name`.
        owner: as `Limit.owner`.
        header: the header with the count.
        before: the text before the count, in a header that lists several limits; else empty.
        resets: whether other headers have the end of the limit's window.
        is_global: whether all principals share the limit. It is so large that no request waits for
            it until its count is below the others.

    """

    name: str
    owner: str
    header: istr
    before: str = ""
    resets: bool = False
    is_global: bool = False


@attrs.define(eq=False)
class Kind:
    """Requests that draw from the same limits, each in its scope.

    Attributes:
        verb: the HTTP verb.
        type: the resource type or action, in lower case; empty if the path names none.
        operation: the class of operation by which ARM counts the kind.
        draws: the limits, sorted by name; at first a guess.
        is_known: whether a response has named the limits.
        last_named: the limits that the last response named.
        version: the number of times that `draws` has changed.

    """

    verb: str
    type: str
    operation: Operation
    draws: tuple[Draw, ...]
    is_known: bool = False
    last_named: tuple[Draw, ...] = ()
    version: int = 0

    def __str__(self) -> str:
        return f"{self.verb} {self.type or 'of other paths'}"


@attrs.define(eq=False)
class ScopedKind:
    """A kind in a scope.

    Attributes:
        kind: the kind.
        scope: as `Limit.scope`.
        shape: the scope, the verb and the form of the path, by which `Kinds` finds this value.
        keys: the limits that a request waits for.
        draws: the limits of the first `keys`, in the same order; the other keys have no header.
        shared: a global limit that no request waits for; None without one.
        has_windows: whether a limit is full again at a known time.
        uncounted: None for each key without a header.
        version: `Kind.version` when this value was made; another number when it is out of date.
        responses: responses whose counts were read.
        lane: the lane of the calls with these limits; None before the first.
        checked_until: the end of the last pause for which the waiting calls were checked.
        unread: the next responses whose counts need not be read, because the limits are far away.

    """

    kind: Kind
    scope: str
    shape: tuple[str, ...]
    keys: tuple[Limit, ...]
    draws: tuple[Draw, ...]
    shared: Draw | None
    has_windows: bool
    uncounted: tuple[None, ...]
    version: int
    responses: int = 0
    lane: Lane | None = None
    checked_until: float = 0.0
    unread: int = 0

    @property
    def is_stale(self) -> bool:
        """Return whether the kind has other limits by now, in this scope or in all."""
        return self.version != self.kind.version


@attrs.define(eq=False)
class Kinds:
    """All kinds of a session.

    Attributes:
        paces: whether requests wait for limits; without it, each kind has only its class.
        unwaited: the last counts of limits for single resources. They are in the statistics, and
            no request waits for them.
        changes: the number of times that a kind's limits have changed in all scopes.

    """

    paces: bool = True
    unwaited: dict[Limit, int] = attrs.field(factory=dict, init=False)
    changes: int = attrs.field(default=0, init=False)
    _kinds: dict[tuple[str, ...], Kind] = attrs.field(factory=dict, init=False)
    _scoped: dict[tuple[str, ...], ScopedKind] = attrs.field(factory=dict, init=False)
    # The same by the verb and the URL up to the resource's name, or the whole URL without a query.
    _near: dict[tuple[str, str], ScopedKind] = attrs.field(factory=dict, init=False)
    _whole: dict[tuple[str, str], ScopedKind] = attrs.field(factory=dict, init=False)
    # Limits without a header that a kind has in one scope, and global limits to wait for.
    _further: dict[tuple[str, Kind], tuple[Limit, ...]] = attrs.field(factory=dict, init=False)
    _tight: dict[Limit, None] = attrs.field(factory=dict, init=False)

    def find(self, method: str, url: str) -> ScopedKind:
        """Return the kind of a request, in its scope; `url` is complete."""
        # Resources with the same parent are of one kind.
        end = url.find("?")
        if end < 0:
            end = len(url)
        scoped = self._near.get((method, url[: url.rfind("/", 0, end)]))
        if scoped is None or scoped.version != scoped.kind.version or _GRAPH in url:
            return self._find_whole(method, url, end)
        return scoped

    def _find_whole(self, method: str, url: str, end: int) -> ScopedKind:
        """Return the kind of a request by its whole URL, whose query begins at `end`."""
        if _GRAPH in url:
            return self._find_slowly(method, url)
        # After an odd number of slashes, the last segment is a type or an action, and after four
        # of them, it may be the subscription.
        slashes = url.count("/", 0, end)
        if not slashes & 1 and slashes != _ROOT_SLASHES:
            _make_room(self._near, _MOST_SCOPED)
            parent = url[: url.rfind("/", 0, end)]
            scoped = self._near[method, parent] = self._find_slowly(method, url)
            return scoped
        whole = method, url[:end]
        known = self._whole.get(whole)
        if known is None or known.version != known.kind.version:
            _make_room(self._whole, _MOST_SCOPED)
            known = self._whole[whole] = self._find_slowly(method, url)
        return known

    def _find_slowly(self, method: str, url: str) -> ScopedKind:
        address, _, query = url.lower().partition("?")
        parts = address.split("/", 5)
        scope = parts[4] if len(parts) > 4 and parts[3] == "subscriptions" else ""
        # The namespace and every second segment after it are the shape. The others are names.
        names = address.rpartition("/providers/")[2].split("/")
        form = _BY_GRAPH if _BY_GRAPH in query else "one" if len(names) & 1 else "many"
        shape = (scope, method, form, names[0], *names[1::2])
        scoped = self._scoped.get(shape)
        if scoped is None or scoped.is_stale:
            scoped = self._scoped[shape] = self._make(shape, url)
        return scoped

    def read_counts(
        self, scoped: ScopedKind, headers: Mapping[str, str], wall: float, *, good: bool
    ) -> tuple[str, list[Count | None]]:
        """Return the front-door region, and the count of each of the kind's limits or None.

        Args:
            scoped: the kind of the request, in its scope.
            headers: the response's headers, a mapping that ignores case.
            wall: now, for windows that end at an instant.
            good: whether the response is no error, so that its limits are those of the kind.

        """
        region, colon, _ = headers.get(_ROUTING_ID, "").partition(":")
        if not colon or len(region) > _LONGEST_REGION:
            # Another text, for example a GUID, would be a new region in each response.
            region = ""
        scoped.responses = responses = scoped.responses + 1
        if responses % _READ_ALL_EVERY == 1:
            return region, self._read_slowly(scoped, headers, region, wall, good=good)
        counts: list[Count | None] = []
        for draw in scoped.draws:
            text = headers.get(draw.header, "")
            if draw.before:
                text = text.partition(draw.before)[2].partition(",")[0]
            if draw.resets or not text.isdecimal() or len(text) > _MOST_DIGITS:
                if not scoped.kind.is_known and responses % _SEARCH_EVERY:
                    return region, [None] * len(scoped.keys)
                return region, self._read_slowly(scoped, headers, region, wall, good=good)
            counts.append((int(text), region, None))
        scoped.kind.last_named = scoped.kind.draws
        if not responses % _SEARCH_EVERY:
            self._compare_global(scoped, headers, counts)
        if scoped.uncounted:
            counts += scoped.uncounted
        return region, counts

    def add_limit(self, scoped: ScopedKind, limit: Limit) -> None:
        """Make a limit, which a 429 has shown, one of the limits of a kind in a scope."""
        at = scoped.scope, scoped.kind
        known = self._further.get(at, ())
        if limit in scoped.keys:
            return
        if limit not in known:
            _make_room(self._further, _MOST_SCOPED)
            self._further[at] = (*known, limit)
            self._drop(scoped)
        scoped.version = _STALE

    def _drop(self, scoped: ScopedKind) -> None:
        """Let a kind get new limits in one scope. The other scopes keep theirs."""
        current = self._scoped.pop(scoped.shape, scoped)
        current.version = scoped.version = _STALE

    def _make(self, shape: tuple[str, ...], url: str) -> ScopedKind:
        scope = shape[0]
        # A subscription and a tenant have different buckets.
        where = "subscription" if scope else "tenant"
        kind = self._kinds.get((where, *shape[1:]))
        if kind is None:
            _make_room(self._kinds, _MOST_KINDS)
            kind = self._kinds[where, *shape[1:]] = _make_kind(where, shape[1], url)
        _make_room(self._scoped, _MOST_SCOPED)
        limits = {draw: Limit(scope, draw.name, draw.owner) for draw in kind.draws}
        waited = [
            draw for draw, limit in limits.items() if not draw.is_global or limit in self._tight
        ]
        known = self._further.get((scope, kind), ())
        further = tuple(limit for limit in known if limit not in limits.values())
        if not self.paces:
            return ScopedKind(kind, scope, shape, (), (), None, False, (), kind.version)
        return ScopedKind(
            kind,
            scope,
            shape,
            keys=(*(limits[draw] for draw in waited), *further),
            draws=tuple(waited),
            shared=next((draw for draw in kind.draws if draw not in waited), None),
            has_windows=any(draw.resets for draw in waited),
            uncounted=(None,) * len(further),
            version=kind.version,
        )

    def _read_slowly(
        self,
        scoped: ScopedKind,
        headers: Mapping[str, str],
        region: str,
        wall: float,
        *,
        good: bool,
    ) -> list[Count | None]:
        """Read all headers, and learn the limits of the kind from a good response."""
        found: dict[Draw, Count] = {}
        for header, one in iter_remaining(headers, wall):
            draw = _make_draw(header, one, scoped.kind)
            if one.bucket.scope == "resource":
                _make_room(self.unwaited, _MOST_NOTES)
                self.unwaited[Limit(scoped.scope, draw.name)] = one.count
            elif draw not in found or one.count < found[draw][0]:
                # The end of a window belongs to the service, and not to a region of ARM.
                place = "" if draw.resets else region
                found[draw] = (one.count, place, one.resets_after)
        _drop_copies(found)
        if good and found:
            self._learn(scoped.kind, sorted(found, key=_get_sort_key))
        counts = {(draw.name, draw.owner): count for draw, count in found.items()}
        waited = [counts.get((limit.name, limit.owner)) for limit in scoped.keys]
        self._compare_global(scoped, headers, waited)
        return waited

    def _learn(self, kind: Kind, draws: list[Draw]) -> None:
        if all(draw.is_global for draw in draws):
            # The response names no other limit to wait for.
            draws = [attrs.evolve(draw, is_global=False) for draw in draws]
        named = tuple(draws)
        # Responses that alternate between two sets of limits would move the waiting calls each
        # time, so that another set must be named twice in a row, unless it only has more limits.
        is_sure = not kind.is_known or kind.last_named == named or set(named) > set(kind.draws)
        if kind.draws != named and is_sure:
            kind.draws = named
            kind.version += 1
            self.changes += 1
        kind.is_known, kind.last_named = True, named

    def _compare_global(
        self, scoped: ScopedKind, headers: Mapping[str, str], counts: Sequence[Count | None]
    ) -> None:
        """Let requests wait for the global limit, if its count is below the others."""
        shared = scoped.shared
        text = "" if shared is None else headers.get(shared.header, "")
        others = [count[0] for count in counts if count is not None]
        if shared is None or not text.isdecimal() or len(text) > _MOST_DIGITS:
            return
        if int(text) < min(others, default=0):
            limit = Limit(scoped.scope, shared.name, shared.owner)
            if limit not in self._tight:
                _make_room(self._tight, _MOST_SCOPED)
                self._tight[limit] = None
                self._drop(scoped)
            scoped.version = _STALE


def _drop_copies(found: dict[Draw, Count]) -> None:
    """Drop the counts that repeat the user's quota.

    Resource Graph sends that quota a second time, as ``tenant-resource-requests`` and without the
    end of its window.
    """
    quota = next((count for draw, count in found.items() if draw.name == _USER_QUOTA), None)
    if quota is None:
        return
    for draw, count in list(found.items()):
        if draw.owner and count[0] == quota[0] and count[2] is None:
            del found[draw]


def _get_sort_key(draw: Draw) -> tuple[str, str]:
    return draw.name, draw.owner


def _make_room(table: dict[Any, Any], most: int) -> None:
    """Drop the oldest entry of a full table."""
    if len(table) >= most:
        del table[next(iter(table))]


def _make_kind(where: str, verb: str, url: str) -> Kind:
    """Return a new kind, whose limit is a guess."""
    found = find_resource_type(url)
    operation: Operation = (
        "reads" if is_read(verb, url) else "deletes" if verb == "DELETE" else "writes"
    )
    name = f"{where}-{operation}"
    guess = Draw(name, "", istr(_PREFIX + name))
    return Kind(verb, "" if found is None else str(found).lower(), operation, (guess,))


def _make_draw(header: str, remaining: Remaining, kind: Kind) -> Draw:
    """Return the limit whose count a header has."""
    bucket, resets = remaining.bucket, remaining.resets_after is not None
    if header == _POLICIES:
        policy = bucket.operations.rpartition("/")[2]
        return Draw(policy, "", istr(header), before=f"/{policy};")
    if bucket.scope == "user":
        return Draw(_USER_QUOTA, "", istr(header), resets=resets)
    # Without its prefix, a header's name also has the window, as in "resource-requests-pt5m".
    name = header.removeprefix(_PREFIX).removeprefix("x-").removesuffix("-remaining")
    owner = "" if bucket.operations in _OPERATIONS else kind.type
    return Draw(name, owner, istr(header), resets=resets, is_global=bucket.scope == "global")
