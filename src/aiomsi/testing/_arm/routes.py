"""ARM's routes: the handlers for each pattern of paths. The first route that matches is used.

Source: https://learn.microsoft.com/rest/api/resources
"""

from aiomsi.testing._arm.call import Route
from aiomsi.testing._arm.groups import (
    delete_group,
    export_template,
    get_group,
    list_groups,
    patch_group,
    put_group,
)
from aiomsi.testing._arm.lists import list_resources
from aiomsi.testing._arm.operations import get_operation_result, get_operation_status
from aiomsi.testing._arm.providers import get_provider, list_providers, list_types, register
from aiomsi.testing._arm.resource_graph import query_resources
from aiomsi.testing._arm.resources import (
    delete_resource,
    get_resource,
    patch_resource,
    post_action,
    put_resource,
)
from aiomsi.testing._arm.services.clouds import get_endpoints
from aiomsi.testing._arm.services.tag_names import (
    delete_tag_name,
    delete_tag_value,
    list_tag_names,
    put_tag_name,
    put_tag_value,
)
from aiomsi.testing._arm.subscriptions import (
    get_subscription,
    list_locations,
    list_subscriptions,
    list_tenants,
)
from aiomsi.testing._arm.tags import delete_tags, get_tags, patch_tags, put_tags
from aiomsi.testing._arm.templates.deployments import put_deployment, validate_deployment
from aiomsi.testing._arm.tenant.management_groups import (
    delete_management_group,
    delete_placed_subscription,
    get_management_group,
    get_placed_subscription,
    list_descendants,
    list_entities,
    list_management_groups,
    list_placed_subscriptions,
    put_placed_subscription,
)

_SUBSCRIPTION = r"/subscriptions/(?P<subscription>[^/]+)"
_GROUP = rf"{_SUBSCRIPTION}/resourcegroups/(?P<group>[^/]+)"
_PROVIDER = "/providers/(?P<namespace>[^/]+)"
_OPERATION = "(?P<operation>[^/]+)"
_TAG = rf"{_SUBSCRIPTION}/tagNames/(?P<tag>[^/]+)"
_DEPLOYMENT = (
    rf"(?P<target>{_SUBSCRIPTION}(/resourcegroups/(?P<group>[^/]+))?)"
    r"/providers/Microsoft\.Resources/deployments/(?P<deployment>[^/]+)"
)
_MANAGEMENT = r"/providers/Microsoft\.Management"
_MANAGED = rf"{_MANAGEMENT}/managementGroups/(?P<managed>[^/]+)"
_MANAGED_ROLE = "Microsoft.Management/managementGroups"
_ROLE = "Microsoft.Resources/subscriptions"

ROUTES = (
    Route("/metadata/endpoints", {"GET": get_endpoints}, builtin_type=False, needs_token=False),
    Route("/tenants", {"GET": list_tenants}),
    Route("/subscriptions", {"GET": list_subscriptions}),
    Route(f"(?P<scope>{_SUBSCRIPTION})", {"GET": get_subscription}, _ROLE, filters=True),
    Route(
        f"(?P<scope>{_SUBSCRIPTION})/locations",
        {"GET": list_locations},
        f"{_ROLE}/locations",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_SUBSCRIPTION})/resourcegroups",
        {"GET": list_groups},
        f"{_ROLE}/resourcegroups",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_GROUP})",
        {
            "GET": get_group,
            "HEAD": get_group,
            "PUT": put_group,
            "PATCH": patch_group,
            "DELETE": delete_group,
        },
        f"{_ROLE}/resourcegroups",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_SUBSCRIPTION})/resources",
        {"GET": list_resources},
        f"{_ROLE}/resources",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_GROUP})/resources",
        {"GET": list_resources},
        f"{_ROLE}/resources",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_GROUP})/exportTemplate",
        {"POST": export_template},
        f"{_ROLE}/resourcegroups/exportTemplate",
    ),
    Route(
        f"(?P<scope>{_SUBSCRIPTION})/tagNames",
        {"GET": list_tag_names},
        f"{_ROLE}/tagNames",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_TAG})",
        {"PUT": put_tag_name, "DELETE": delete_tag_name},
        f"{_ROLE}/tagNames",
    ),
    Route(
        f"(?P<scope>{_TAG}/tagValues/(?P<value>[^/]+))",
        {"PUT": put_tag_value, "DELETE": delete_tag_value},
        f"{_ROLE}/tagNames/tagValues",
    ),
    Route(f"{_MANAGEMENT}/managementGroups", {"GET": list_management_groups}, builtin_type=False),
    Route(f"{_MANAGEMENT}/getEntities", {"POST": list_entities}, builtin_type=False),
    Route(
        f"(?P<scope>{_MANAGED})",
        {
            "GET": get_management_group,
            "PUT": put_resource,
            "PATCH": patch_resource,
            "DELETE": delete_management_group,
        },
        _MANAGED_ROLE,
        builtin_type=False,
    ),
    Route(
        f"(?P<scope>{_MANAGED})/descendants",
        {"GET": list_descendants},
        f"{_MANAGED_ROLE}/descendants",
        builtin_type=False,
    ),
    Route(
        f"(?P<scope>{_MANAGED})/subscriptions",
        {"GET": list_placed_subscriptions},
        f"{_MANAGED_ROLE}/subscriptions",
        builtin_type=False,
    ),
    Route(
        f"(?P<scope>{_MANAGED})/subscriptions/(?P<placed>[^/]+)",
        {
            "GET": get_placed_subscription,
            "PUT": put_placed_subscription,
            "DELETE": delete_placed_subscription,
        },
        f"{_MANAGED_ROLE}/subscriptions",
        builtin_type=False,
    ),
    Route("/providers", {"GET": list_providers}),
    Route(_PROVIDER, {"GET": get_provider}),
    Route(
        f"(?P<scope>{_SUBSCRIPTION})/providers",
        {"GET": list_providers},
        f"{_ROLE}/providers",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_SUBSCRIPTION}){_PROVIDER}",
        {"GET": get_provider},
        f"{_ROLE}/providers",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_SUBSCRIPTION}){_PROVIDER}/resourceTypes",
        {"GET": list_types},
        f"{_ROLE}/providers",
        filters=True,
    ),
    Route(
        f"(?P<scope>{_SUBSCRIPTION}){_PROVIDER}/(?P<verb>register|unregister)",
        {"POST": register},
        f"{_ROLE}/providers",
    ),
    Route(
        "/providers/Microsoft.ResourceGraph/resources",
        {"POST": query_resources},
        builtin_type=False,
    ),
    Route(f"{_SUBSCRIPTION}/operationresults/{_OPERATION}", {"GET": get_operation_result}),
    Route(f"{_SUBSCRIPTION}/operationstatuses/{_OPERATION}", {"GET": get_operation_status}),
    Route(
        f"({_SUBSCRIPTION})?{_PROVIDER}/locations/[^/]+/operationresults/{_OPERATION}",
        {"GET": get_operation_result},
        builtin_type=False,
    ),
    Route(
        f"({_SUBSCRIPTION})?{_PROVIDER}/locations/[^/]+/operationstatuses/{_OPERATION}",
        {"GET": get_operation_status},
        builtin_type=False,
    ),
    Route(
        rf"(?P<scope>(?P<tagged>{_SUBSCRIPTION}(/.+)?)/providers/Microsoft\.Resources/tags/default)",
        {"GET": get_tags, "PUT": put_tags, "PATCH": patch_tags, "DELETE": delete_tags},
        "Microsoft.Resources/tags",
    ),
    Route(
        f"(?P<scope>{_DEPLOYMENT})",
        {
            "GET": get_resource,
            "HEAD": get_resource,
            "PUT": put_deployment,
            "PATCH": patch_resource,
            "DELETE": delete_resource,
        },
        "*",
        builtin_type=False,
        filters=True,
    ),
    Route(
        f"(?P<scope>{_DEPLOYMENT}/validate)",
        {"POST": validate_deployment},
        "Microsoft.Resources/deployments/validate",
        builtin_type=False,
    ),
    Route(
        rf"(?P<scope>({_SUBSCRIPTION}(/.+)?)?(/providers/.+)?/providers/[^/]+/.+)",
        {
            "GET": get_resource,
            "HEAD": get_resource,
            "PUT": put_resource,
            "PATCH": patch_resource,
            "DELETE": delete_resource,
            "POST": post_action,
        },
        "*",
        builtin_type=False,
        filters=True,
    ),
)
"""All routes; in the last one, ``*`` stands for the resource type in the path."""
