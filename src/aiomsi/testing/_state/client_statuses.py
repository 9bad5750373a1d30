"""The status codes that Microsoft's current management clients accept, by type and method.

The file ``client_statuses.txt`` holds them, and `tests/conformance/client_statuses.py` renews it
from the installed packages. It is read at the first write, and parsed by namespace. Each section
begins with the namespace in brackets; each further line has a type, an api-version (marked with
``*`` if the clients send it by default), and requests such as ``PUT=200,201@g``:

- ``c.`` before the method marks a collection, ``a.`` an action; any other path is a resource's.
- The statuses follow ``=``.
- The places follow ``@``: ``g`` for a resource group, ``s`` a subscription, ``m`` a management
  group, ``t`` the tenant, ``x`` any other scope, and ``n`` for a path without ``providers``. Names
  that the client fixes follow a colon, with ``-`` for each free one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

import attrs

from aiomsi.testing._state.operation_store import OperationKind

_SECTION = re.compile(r"^\[(.+)\]\n", re.MULTILINE)


@attrs.frozen
class ClientScope:
    """A scope in which a client addresses a type.

    Attributes:
        scope: ``g``, ``s``, ``m``, ``t``, ``x`` or ``n``, as in the file.
        names: names of the resources that the client fixes, and ``-`` for each free one; empty if
            all are free.

    """

    scope: str
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ClientScope:
        """Parse a place of the file."""
        scope, _, names = text.partition(":")
        return cls(scope, tuple(names.split("/")) if names else ())

    def fixes(self, names: tuple[str, ...]) -> bool:
        """Return whether the client fixes a name, and these names fit."""
        return len(names) == len(self.names) and all(
            fixed in ("-", given.lower())
            for fixed, given in zip(map(str.lower, self.names), names, strict=True)
        )


@attrs.frozen
class ClientRequest:
    """A request that a client sends.

    Attributes:
        form: ``"resource"``, ``"collection"`` or ``"action"``.
        method: method of the request.
        version: api-version that the client sends.
        is_default: whether the client sends this api-version by default.
        statuses: status codes that the client accepts.
        places: scopes in which the client sends the request.

    """

    form: str
    method: str
    version: str
    is_default: bool
    statuses: frozenset[int]
    places: tuple[ClientScope, ...]


def list_namespaces() -> tuple[str, ...]:
    """Return the namespaces that the file contains."""
    return tuple(_read_sections())


def read_namespace(namespace: str) -> Mapping[str, tuple[ClientRequest, ...]]:
    """Return the requests of a namespace by lower-case type; empty if it is unknown."""
    return _parse_namespace(namespace.lower())


def find_statuses(
    namespace: str, kind: str, form: str, method: str, version: str, names: tuple[str, ...]
) -> frozenset[int] | None:
    """Return the statuses that clients accept as the response to a request.

    They are those for its api-version, or else those for the clients' default api-version.

    Args:
        namespace: namespace of the provider.
        kind: type within the namespace; for an action with the action's name.
        form: ``"resource"``, ``"collection"`` or ``"action"``.
        method: method of the request.
        version: api-version of the request.
        names: names of the resources in the path.

    Returns:
        The statuses; None if no client sends such a request.

    """
    sent = [
        one
        for one in read_namespace(namespace).get(kind.lower(), ())
        if one.form == form and one.method == method
    ]
    fitting = [one for one in sent if one.version == version.lower()] or [
        one for one in sent if one.is_default
    ]
    exact = [one for one in fitting if any(place.fixes(names) for place in one.places)]
    free = [one for one in fitting if any(not place.names for place in one.places)]
    return next((one.statuses for one in (*exact, *free, *fitting)), None)


@lru_cache(maxsize=1)
def _read_sections() -> Mapping[str, str]:
    from importlib.resources import files  # only a write needs the file

    text = files(__package__).joinpath("client_statuses.txt").read_text(encoding="utf-8")
    _, *parts = _SECTION.split(text)
    return MappingProxyType(dict(zip(parts[::2], parts[1::2], strict=True)))


@lru_cache(maxsize=64)
def _parse_namespace(namespace: str) -> Mapping[str, tuple[ClientRequest, ...]]:
    section = {name.lower(): text for name, text in _read_sections().items()}.get(namespace, "")
    types: dict[str, tuple[ClientRequest, ...]] = {}
    for line in section.splitlines():
        kind, *_ = line.split(" ", 1)
        types[kind.lower()] = (*types.get(kind.lower(), ()), *_parse_line(line))
    return MappingProxyType(types)


_FORMS = {"c": "collection", "a": "action", "": "resource"}


def _parse_line(line: str) -> Iterator[ClientRequest]:
    _, version, *requests = line.split(" ")
    for request in requests:
        head, _, places = request.partition("@")
        verb, _, statuses = head.partition("=")
        form, _, method = verb.rpartition(".")
        yield ClientRequest(
            _FORMS[form],
            method,
            version.rstrip("*"),
            version.endswith("*"),
            frozenset(map(int, statuses.split(","))),
            tuple(map(ClientScope.parse, places.split(","))),
        )


@attrs.frozen
class Response:
    """The kind of response that a client accepts.

    Attributes:
        status: status code.
        operation: kind of the long-running operation that begins with the response; None if the
            request is carried out at once.

    """

    status: int
    operation: OperationKind | None = None


def choose_write(statuses: frozenset[int] | None, *, is_new: bool) -> Response:
    """Return the response to a PUT or PATCH.

    201 stands for a new resource, 200 for a changed one; an operation begins where the client
    accepts neither status, or 201 and 202 alone. A client that accepts 200 is answered at once.

    Args:
        statuses: status codes that the client accepts; None if it is not known.
        is_new: whether the resource is new.

    """
    usual = 201 if is_new else 200
    accepted = frozenset((200, 201)) if statuses is None else statuses
    if is_new and 201 in accepted:
        return Response(201, "azure-async-operation" if {200, 202} & accepted == {202} else None)
    if 200 in accepted:
        return Response(200)
    if 202 in accepted:
        return Response(202, "both")
    return Response(next((status for status in (201, 204) if status in accepted), usual))


def choose_delete(statuses: frozenset[int] | None, *, exists: bool) -> Response:
    """Return the response to a DELETE; 204 stands for a resource that does not exist."""
    accepted = frozenset((200, 204)) if statuses is None else statuses
    order = (200, 202, 204) if exists else (204, 200)
    status = next((status for status in order if status in accepted), order[0])
    return Response(status, "both" if status == 202 else None)


def choose_action(statuses: frozenset[int] | None) -> Response:
    """Return the response to the POST of an action."""
    accepted = frozenset((200,)) if statuses is None else statuses
    status = next((status for status in (200, 204, 202) if status in accepted), 200)
    return Response(status, "both" if status == 202 else None)
