"""The `$filter` of lists: the subset of OData that ARM accepts.

Terms are ``NAME eq 'text'``, ``NAME ne 'text'``, ``substringof('text', NAME)``,
``startswith(tagName, 'text')``, and the pair ``tagName eq 'name' and tagValue eq 'text'``; they are
joined by ``and`` and ``or``; ``and`` binds closer.

Source: https://learn.microsoft.com/rest/api/resources/resources/list#uri-parameters
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aiomsi.testing._arm.call import ArmCall

Facts = Mapping[str, object]
_TEXT = r"'((?:[^']|'')*)'"
_COMPARED = re.compile(rf"([A-Za-z/]+)\s+(eq|ne)\s+{_TEXT}", re.IGNORECASE)
_SUBSTRING = re.compile(rf"substringof\(\s*{_TEXT}\s*,\s*([A-Za-z]+)\s*\)", re.IGNORECASE)
_STARTS = re.compile(rf"startswith\(\s*tagName\s*,\s*{_TEXT}\s*\)", re.IGNORECASE)
_TYPED = re.compile(rf"resourceType\s+eq\s+{_TEXT}", re.IGNORECASE)
_JOINT = re.compile(r"\s+(and|or)\s+(?=(?:[^']*'[^']*')*[^']*$)", re.IGNORECASE)
_NAMES = {
    name.lower(): name
    for name in ("name", "resourceType", "resourceGroup", "location", "kind", "managedBy")
}


@attrs.frozen
class Filter:
    """A parsed filter.

    Attributes:
        fits: function that returns whether the facts of an item match the filter.
        about_tags: whether the filter has a term about tags.
        fits_all: whether every item matches, because the request has no filter.
        resource_type: the only type that matches; None if the filter names no single type.

    """

    fits: Callable[[Facts], bool]
    about_tags: bool = False
    fits_all: bool = False
    resource_type: str | None = None


def parse_filter(call: ArmCall) -> Filter:
    """Parse the `$filter` of a call; without one, every item matches.

    Raises:
        RefusedError: the filter is not in ARM's subset of OData.

    """
    text = call.request.parameter("$filter")
    if not text or not text.strip():
        return Filter(lambda _: True, fits_all=True)
    words = _JOINT.split(text.strip())
    alternatives: list[list[str]] = [[words[0]]]
    for joint, term in zip(words[1::2], words[2::2], strict=True):
        if joint.lower() == "or":
            alternatives.append([term])
        else:
            alternatives[-1].append(term)
    built = [_parse_conjunction(call, text, terms) for terms in alternatives]
    about_tags = re.search(r"\btag(name|value)\b", text, re.IGNORECASE) is not None
    typed = _TYPED.fullmatch(text.strip())
    return Filter(
        lambda facts: any(one(facts) for one in built),
        about_tags,
        resource_type=None if typed is None else _unquote(typed[1]),
    )


def _parse_conjunction(call: ArmCall, text: str, terms: list[str]) -> Callable[[Facts], bool]:
    tests: list[Callable[[Facts], bool]] = []
    tag: dict[str, str] = {}
    for term in terms:
        compared = _COMPARED.fullmatch(term)
        if compared is not None and compared[1].lower() in ("tagname", "tagvalue"):
            tag[compared[1].lower()] = _unquote(compared[3])
        elif (test := _parse_term(term)) is not None:
            tests.append(test)
        else:
            message = f"Invalid $filter '{text}' specified in the query string."
            raise call.refuse(400, "InvalidFilterInQueryString", message)
    if tag:
        tests.append(_match_tag(tag.get("tagname"), tag.get("tagvalue")))
    return lambda facts: all(test(facts) for test in tests)


def _parse_term(term: str) -> Callable[[Facts], bool] | None:
    found = _COMPARED.fullmatch(term)
    if found is not None and found[1].lower() in _NAMES:
        same = found[2].lower() == "eq"
        return _match_equal(_NAMES[found[1].lower()], _unquote(found[3]), same=same)
    found = _SUBSTRING.fullmatch(term)
    if found is not None and found[2].lower() in _NAMES:
        return _match_substring(_NAMES[found[2].lower()], _unquote(found[1]))
    found = _STARTS.fullmatch(term)
    return None if found is None else _match_tag_prefix(_unquote(found[1]))


def _unquote(text: str) -> str:
    return text.replace("''", "'")


def _fold(value: object) -> str:
    return str(value or "").lower()


def _match_equal(name: str, text: str, *, same: bool) -> Callable[[Facts], bool]:
    if name == "location":
        text = "".join(text.split())
        return lambda facts: ("".join(_fold(facts.get(name)).split()) == text.lower()) is same
    return lambda facts: (_fold(facts.get(name)) == text.lower()) is same


def _match_substring(name: str, text: str) -> Callable[[Facts], bool]:
    return lambda facts: text.lower() in _fold(facts.get(name))


def _get_tags(facts: Facts) -> dict[str, str]:
    tags: Any = facts.get("tags")
    return (
        {name.lower(): str(value) for name, value in tags.items()}
        if isinstance(tags, Mapping)
        else {}
    )


def _match_tag_prefix(text: str) -> Callable[[Facts], bool]:
    return lambda facts: any(name.startswith(text.lower()) for name in _get_tags(facts))


def _match_tag(name: str | None, value: str | None) -> Callable[[Facts], bool]:
    def fits(facts: Facts) -> bool:
        tags = _get_tags(facts)
        values = (
            list(tags.values())
            if name is None
            else [tags[key] for key in (name.lower(),) if key in tags]
        )
        return bool(values) if value is None else value in values

    return fits
