"""`RequestLog`: counts and records of the requests to the embedded Azure."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import Literal, get_args

import attrs
from multidict import CIMultiDictProxy

HostName = Literal[
    "app-service",
    "azure-ml",
    "azure-arc",
    "service-fabric",
    "cloud-shell",
    "workload-identity",
]
HOST_KINDS: tuple[HostName, ...] = get_args(HostName)
"""The hosts besides IMDS, as `aiomsi.ManagedIdentityCredential` names them."""
Service = Literal["imds", "arm"] | HostName
SERVICES: tuple[Service, ...] = ("imds", "arm")
"""The services that every embedded Azure has."""
RECORDED = 20_000
"""The most requests that are kept by default; older ones are dropped."""

_NAMES: Mapping[Service, tuple[str, str]] = {
    service: (f"{service}_requests", f"{service}_most_at_once")
    for service in (*SERVICES, *HOST_KINDS)
}
"""The counts of the requests of a service: in all, and at once."""
_SECRETS = ("X-IDENTITY-HEADER", "Secret")
"""The headers that carry a secret of a host."""
_Received = tuple[Service, str, str, CIMultiDictProxy[str]]
"""A request as it was received: service, method, path and query, headers."""


def check_service(service: str) -> Service:
    """Return the name of a service as its literal type.

    Raises:
        ValueError: the service is unknown.

    """
    for known in SERVICES:
        if service == known:
            return known
    known_names = " and ".join(map(repr, SERVICES))
    msg = f"The embedded Azure has no service {service!r}; it has {known_names}"
    raise ValueError(msg)


@attrs.frozen
class Counts:
    """Counts since the start, or since `reset_counts`.

    Attributes:
        imds_requests: requests to IMDS, including refused ones and ones that met a fault.
        imds_tokens: tokens that IMDS returned.
        imds_throttled: token requests to which IMDS responded 429, by its limits.
        imds_most_at_once: the most requests to IMDS that were under way at the same time.
        arm_requests: requests to ARM, including refused ones and ones that met a fault.
        arm_unauthorized: requests to which ARM responded 401.
        arm_forbidden: requests to which ARM responded 403.
        arm_throttled: requests to which ARM responded 429, by its limits.
        arm_most_at_once: the most requests to ARM that were under way at the same time.
        faults: injected faults that happened.

    """

    imds_requests: int = 0
    imds_tokens: int = 0
    imds_throttled: int = 0
    imds_most_at_once: int = 0
    arm_requests: int = 0
    arm_unauthorized: int = 0
    arm_forbidden: int = 0
    arm_throttled: int = 0
    arm_most_at_once: int = 0
    faults: int = 0


@attrs.frozen
class HostCounts:
    """Counts of a host's requests since the start, or since `reset_counts`.

    Attributes:
        requests: requests, including refused ones and ones that met a fault.
        tokens: tokens that the host returned.
        most_at_once: the most requests that were under way at the same time.

    """

    requests: int = 0
    tokens: int = 0
    most_at_once: int = 0


@attrs.frozen
class RecordedRequest:
    """A request as it was received.

    Attributes:
        service: ``"imds"``, ``"arm"``, or the kind of a host.
        method: the method, in upper case.
        path_qs: path and query, byte for byte.
        headers: the headers; look-ups ignore case, and the values of `Authorization` and of the
            hosts' secret headers are masked.

    """

    service: Service
    method: str
    path_qs: str
    headers: Mapping[str, str]


_COUNTED = tuple(field.name for field in attrs.fields(Counts))


class RequestLog:
    """Counts and recorded requests, written by the server's thread and read by other threads.

    Args:
        recorded: most requests that are kept; older ones are dropped.

    """

    def __init__(self, recorded: int = RECORDED) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._under_way: Counter[Service] = Counter()
        self._requests: deque[_Received] = deque(maxlen=recorded)

    def arrived(
        self, service: Service, method: str, path_qs: str, headers: CIMultiDictProxy[str]
    ) -> None:
        """Count and record a request that has been received."""
        requests, most = _NAMES[service]
        with self._lock:
            self._counts[requests] += 1
            self._under_way[service] = under_way = self._under_way[service] + 1
            self._counts[most] = max(self._counts[most], under_way)
            self._requests.append((service, method, path_qs, headers))

    def left(self, service: Service) -> None:
        """Record that a request is no longer under way."""
        with self._lock:
            self._under_way[service] -= 1

    def count(self, name: str) -> None:
        """Add one to the count of this name, an attribute of `Counts` or a count of a host."""
        with self._lock:
            self._counts[name] += 1

    @property
    def counts(self) -> Counts:
        """A snapshot of the counts."""
        with self._lock:
            counted = dict(self._counts)
        return Counts(**{name: counted[name] for name in _COUNTED if name in counted})

    def count_host(self, kind: HostName) -> HostCounts:
        """Return a snapshot of the counts of a host."""
        with self._lock:
            requests, most = (self._counts[name] for name in _NAMES[kind])
            return HostCounts(requests, self._counts[f"{kind}_tokens"], most)

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """A snapshot of the recorded requests, oldest first."""
        with self._lock:
            received = tuple(self._requests)
        return tuple(_record(*one) for one in received)

    def reset(self) -> None:
        """Clear counts and requests; requests that are under way stay counted as such."""
        with self._lock:
            self._counts.clear()
            self._requests.clear()
            for service, number in self._under_way.items():
                self._counts[_NAMES[service][1]] = number


def _record(
    service: Service, method: str, path_qs: str, headers: CIMultiDictProxy[str]
) -> RecordedRequest:
    """Return the record of a request, with its token masked."""
    kept = headers.copy()
    if "Authorization" in kept:
        scheme = kept["Authorization"].partition(" ")[0]
        kept["Authorization"] = f"{scheme} ***"
    for name in _SECRETS:
        if name in kept:
            kept[name] = "***"
    return RecordedRequest(service, method, path_qs, CIMultiDictProxy(kept))
