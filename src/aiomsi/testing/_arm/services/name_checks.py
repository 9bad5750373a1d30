"""``checkNameAvailability`` of all providers: whether a resource of the type has the name.

Source: https://learn.microsoft.com/rest/api/storagerp/storage-accounts/check-name-availability
"""

from __future__ import annotations

import re

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._state.paths import ResourcePath

_ACTION = re.compile(r"check\w*nameavailability", re.IGNORECASE)
_NAMES = {
    "microsoft.storage": (
        re.compile(r"[a-z0-9]{3,24}"),
        "AccountNameInvalid",
        (
            "is not a valid storage account name. Storage account name must be between 3 and 24 "
            "characters in length and use numbers and lower-case letters only."
        ),
    ),
    "microsoft.keyvault": (
        re.compile(r"[a-zA-Z](?!.*--)[a-zA-Z0-9-]{1,22}[a-zA-Z0-9]"),
        "AccountNameInvalid",
        (
            "is not a valid vault name. It must have 3 to 24 letters, digits "
            "and hyphens, begin with a letter, and end with a letter or digit."
        ),
    ),
}
_TYPES = {
    "microsoft.storage": "Microsoft.Storage/storageAccounts",
    "microsoft.keyvault": "Microsoft.KeyVault/vaults",
}


def is_name_check(path: ResourcePath) -> bool:
    """Return whether a path ends with an action that checks whether a name is free."""
    return not path.is_resource and _ACTION.fullmatch(path.types[-1]) is not None


def check_name(call: ArmCall, path: ResourcePath) -> object:
    """Return the result of a check of a name.

    Raises:
        RefusedError: the provider is unknown, or the body has no name, or no type where the
            provider has several.

    """
    if call.state.registry.provider(path.namespace) is None:
        text = f"The resource namespace '{path.namespace}' is invalid."
        raise call.refuse(404, "InvalidResourceNamespace", text)
    body, namespace = call.document(), path.namespace.lower()
    name, kind = body.get("name"), body.get("type") or _TYPES.get(namespace)
    if not isinstance(name, str) or not isinstance(kind, str):
        text = "The request must have the members 'name' and 'type'."
        raise call.refuse(400, "InvalidRequestContent", text)
    rule = _NAMES.get(namespace)
    if rule is not None and rule[0].fullmatch(name) is None:
        return {"nameAvailable": False, "reason": rule[1], "message": f"{name} {rule[2]}"}
    taken = {one.name.lower() for one in call.state.resources.list_below("", kind)}
    if name.lower() in taken:
        text = f"The name '{name}' of type '{kind}' is already taken."
        return {"nameAvailable": False, "reason": "AlreadyExists", "message": text}
    return {"nameAvailable": True}
