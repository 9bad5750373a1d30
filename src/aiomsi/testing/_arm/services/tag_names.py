"""Tag names of a subscription, with their values and the number of resources that have them.

Source: https://learn.microsoft.com/rest/api/resources/tags/list
"""

from __future__ import annotations

from collections import Counter

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._server.messages import Answer, make_json_answer


def _get_predefined(call: ArmCall) -> dict[str, list[str]]:
    """Return the predefined tag names of the subscription, with their values, to be changed."""
    return call.state.tag_names.setdefault(call.names["subscription"].lower(), {})


def _count_used(call: ArmCall) -> Counter[tuple[str, str]]:
    """Return how many groups and resources have each tag."""
    subscription = call.names["subscription"]
    scope = f"/subscriptions/{subscription}"
    owners = (
        *(group.tags for group in call.azure.groups(subscription)),
        *(one.document.get("tags") for one in call.state.resources.list_below(scope)),
    )
    return Counter(
        (str(name), str(value)) for tags in owners if tags for name, value in tags.items()
    )


def _render(call: ArmCall, name: str) -> dict[str, object]:
    used = {value: number for (one, value), number in _count_used(call).items() if one == name}
    values = dict.fromkeys([*_get_predefined(call).get(name, ()), *used])
    tag_id = f"/subscriptions/{call.names['subscription']}/tagNames/{name}"
    return {
        "id": tag_id,
        "tagName": name,
        "count": {"type": "Total", "value": sum(used.values())},
        "values": [
            {
                "id": f"{tag_id}/tagValues/{value}",
                "tagValue": value,
                "count": {"type": "Total", "value": used.get(value, 0)},
            }
            for value in values
        ],
    }


def list_tag_names(call: ArmCall) -> Answer:
    """Return a page of the tag names, predefined ones and those that resources have."""
    names = dict.fromkeys([*_get_predefined(call), *(name for name, _ in _count_used(call))])
    return make_page(call, list(names), lambda name: _render(call, name))


def put_tag_name(call: ArmCall) -> Answer:
    """Predefine a tag name."""
    name, predefined = call.names["tag"], _get_predefined(call)
    is_new = name not in predefined
    predefined.setdefault(name, [])
    return make_json_answer(201 if is_new else 200, _render(call, name))


def delete_tag_name(call: ArmCall) -> Answer:
    """Remove a predefined tag name; refuse it while resources have the tag."""
    name = call.names["tag"]
    if any(one == name for one, _ in _count_used(call)):
        text = f"The tag '{name}' cannot be deleted, because resources have it."
        raise call.refuse(409, "TagInUse", text)
    return Answer(200 if _get_predefined(call).pop(name, None) is not None else 204)


def put_tag_value(call: ArmCall) -> Answer:
    """Predefine a value of a predefined tag name."""
    values, value = _require_values(call), call.names["value"]
    is_new = value not in values
    if is_new:
        values.append(value)
    path = f"/subscriptions/{call.names['subscription']}/tagNames/{call.names['tag']}"
    count = {"type": "Total", "value": _count_used(call)[call.names["tag"], value]}
    shown = {"id": f"{path}/tagValues/{value}", "tagValue": value, "count": count}
    return make_json_answer(201 if is_new else 200, shown)


def delete_tag_value(call: ArmCall) -> Answer:
    """Remove a predefined value."""
    values, value = _require_values(call), call.names["value"]
    if value not in values:
        return Answer(204)
    values.remove(value)
    return Answer(200)


def _require_values(call: ArmCall) -> list[str]:
    values = _get_predefined(call).get(call.names["tag"])
    if values is None:
        text = f"The tag '{call.names['tag']}' could not be found."
        raise call.refuse(404, "TagNotFound", text)
    return values
