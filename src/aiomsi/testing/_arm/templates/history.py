"""Microsoft.Resources/deployments: the operations of a deployment, and its template.

Source: https://learn.microsoft.com/rest/api/resources/deployment-operations
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import make_not_found
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.provider_service import Service
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource

_DEPLOYMENTS = "microsoft.resources/deployments"


def _require_deployment(call: ArmCall, path: ResourcePath) -> Resource:
    target = ResourcePath(path.scope, path.namespace, path.types[:1], path.names[:1])
    deployment = call.state.resources.get(target.id)
    if deployment is None:
        text = f"Deployment '{path.names[0]}' could not be found."
        raise call.refuse(404, "DeploymentNotFound", text)
    return deployment


def _read_operations(call: ArmCall, path: ResourcePath) -> Answer:
    """Return a page of the operations of a deployment, or one of them."""
    operations = _require_deployment(call, path).runtime.get("operations", [])
    if not path.is_resource:
        return make_page(call, operations)
    for operation in operations:
        if operation["operationId"].lower() == path.names[-1].lower():
            return make_json_answer(200, operation)
    raise make_not_found(call, path)


def _export_template(call: ArmCall, path: ResourcePath) -> object:
    return {"template": _require_deployment(call, path).runtime.get("template")}


SERVICE = Service(
    reads={f"{_DEPLOYMENTS}/operations": _read_operations},
    actions={f"{_DEPLOYMENTS}/exporttemplate": _export_template},
)
