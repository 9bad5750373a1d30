"""What is known of a long-running operation, as one value that can be saved and gone on with elsewhere. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import attrs
from multidict import CIMultiDict

from aiomsi._arm.protocol.links import path_of, pinned
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import Cloud
from aiomsi._errors import ConfigurationError

Reads = Literal["operation", "location", "resource", "result"]
Outcome = Literal["succeeded", "failed", "canceled"]
FinalStateVia = Literal["azure-async-operation", "operation-location", "location", "original-uri"]

MOST_STRIKES = 20
"""So many failures to read in a row, of those that may pass, end the polling: over six minutes at the slowest pace."""
LONGEST_REST = 1_800.0
"""Seconds of polling after which a resource counts as at rest whose state stays an unknown word."""
_VERSION = 1
_SEEN = ("created", "changing", "answered")
_KEPT = ("x-ms-request-id", "x-ms-correlation-request-id")


def _shown(url: str | None) -> str:
    return repr(path_of(url)) if url else "None"


@attrs.frozen
class Progress:
    """The state of a long-running operation, and the next GET.

    Attributes:
        method, url: the request that began it.
        reads: what `source` is: the ``operation``'s own record, a ``location``, the ``resource``,
            or the ``result`` of an
            operation that has succeeded already.
        source: the URL to poll, sent byte for byte; None when the operation is over.
        location: the newest ``Location``, None where none may be followed.
        via: where the API's definition puts the result; None if unknown.
        status: the state in the service's own word.
        percent: the progress as the service counts it; None where the service does not send it.
        asked: the seconds between polls that the service asked for last; None if it did not.
        polled: when the last response came, in seconds since the epoch; None if unknown.
        created: whether the response to the request itself was 201.
        changing: whether the resource was seen with a state that is not final.
        answered: whether any poll of the operation could be read.
        step: how many responses were read from the present kind of source, for the pace.
        strikes: how many polls in a row could not be read, weighted.
        fallback: which GET of the resource is next, in place of the source that could not be read;
        0: none is.
        rested: for how many seconds of polling the resource's state has been the same unknown word.
        outcome: how it ended; None while it goes on or its result is still to be read.
        answer: the response that holds the result or the reasons; None where there is neither.

    """

    method: str
    url: str = attrs.field(repr=_shown)
    reads: Reads = "operation"
    source: str | None = attrs.field(default=None, repr=_shown)
    location: str | None = attrs.field(default=None, repr=False)
    via: FinalStateVia | None = None
    status: str = "InProgress"
    percent: float | None = None
    asked: float | None = None
    polled: float | None = None
    created: bool = False
    changing: bool = False
    answered: bool = False
    step: int = 0
    strikes: int = 0
    fallback: int = 0
    rested: float = 0.0
    outcome: Outcome | None = None
    answer: ArmResponse | None = attrs.field(default=None, repr=False)

    @property
    def next_url(self) -> str | None:
        """The URL of the next GET, sent byte for byte; None when the operation is over."""
        if self.outcome is not None:
            return None
        return self.url if self.fallback else self.source

    @property
    def gave_up(self) -> bool:
        """Whether the state can't be read any more; the operation itself may well go on."""
        return self.outcome is None and self.strikes >= MOST_STRIKES and not self.fallback

    @property
    def is_at_rest(self) -> bool:
        """Whether the resource seems to be in its normal state, although that is an unknown word."""
        return self.outcome is None and self.rested >= LONGEST_REST

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values. They hold signed URLs, and at the end the result: keep them like a password."""
        answer = self.answer
        return {
            "version": _VERSION,
            "method": self.method,
            "url": str(self.url),
            "reads": self.reads,
            "next_url": None
            if self.outcome is not None or self.source is None
            else str(self.source),
            "location": None if self.location is None else str(self.location),
            "final_state_via": self.via,
            "status": self.status,
            "percent": self.percent,
            "asked": self.asked,
            "polled": self.polled,
            **{name: getattr(self, name) for name in _SEEN},
            "outcome": self.outcome,
            "answer": None
            if answer is None
            else {
                "method": answer.method,
                "url": str(answer.url),
                "status": answer.status,
                "headers": {name: answer.headers[name] for name in _KEPT if name in answer.headers},
                # Every byte has its letter there and back, which UTF-8 can't promise of a body that
                # may be anything.
                "body": answer.body.decode("latin-1"),
            },
        }

    @classmethod
    def from_dict(cls, cloud: Cloud, saved: Mapping[str, Any]) -> Self:
        """Take what `to_dict` gave. Failures to read are forgiven, and the pace begins anew.

        Raises:
            ForeignHostError: a URL in it is not on the cloud's ARM.
            ConfigurationError: it is not such a state.

        """
        try:
            return cls._read(cloud, saved)
        except ConfigurationError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            msg = "this is not the state of an operation"
            raise ConfigurationError(msg, help="Pass what state() gave, unchanged") from error

    @classmethod
    def _read(cls, cloud: Cloud, saved: Mapping[str, Any]) -> Self:
        if saved["version"] != _VERSION:
            msg = f"the operation's state has version {saved['version']!r}, and this release reads {_VERSION}"
            raise ConfigurationError(msg)
        url = _url(cloud, saved["url"])
        outcome, answer = saved["outcome"], saved["answer"]
        next_url = None if saved["next_url"] is None else _url(cloud, saved["next_url"])
        if (next_url is None) is (outcome is None):
            raise KeyError
        return cls(
            _text(saved["method"]),
            url,
            reads=_one_of(Reads, saved["reads"]),
            source=next_url,
            location=None if saved["location"] is None else _url(cloud, saved["location"]),
            via=checked_via(saved["final_state_via"]),
            status=_text(saved["status"]),
            percent=_number(saved["percent"]),
            asked=_number(saved.get("asked")),
            polled=_number(saved.get("polled")),
            **{name: saved.get(name) is True for name in _SEEN},
            outcome=None if outcome is None else _one_of(Outcome, outcome),
            answer=None if answer is None else _answer(cloud, answer),
        )


def _answer(cloud: Cloud, saved: Mapping[str, Any]) -> ArmResponse:
    # A header may be empty.
    headers = CIMultiDict(
        {name: "" if value == "" else _text(value) for name, value in saved["headers"].items()}
    )
    method = _text(saved.get("method", "GET"))
    return ArmResponse(
        method,
        _url(cloud, saved["url"]),
        int(saved["status"]),
        headers,
        saved["body"].encode("latin-1"),
    )


def _url(cloud: Cloud, value: object) -> str:
    url = _text(value)
    return pinned(cloud, url, url)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _one_of(kind: Any, value: object) -> Any:
    if value not in get_args(kind):
        raise KeyError
    return value


def checked_via(via: object) -> FinalStateVia | None:
    """Take a ``final-state-via`` as Azure's API definitions write it.

    Source:
    https://github.com/Azure/autorest/blob/main/docs/extensions/readme.md#x-ms-long-running-operation-options

    Raises:
        ConfigurationError: it is none of those.

    """
    if via is None or via in get_args(FinalStateVia):
        return via  # type: ignore[return-value]
    msg = f"final_state_via is {via!r} and must be one of {', '.join(map(repr, get_args(FinalStateVia)))}, or None"
    raise ConfigurationError(msg)
