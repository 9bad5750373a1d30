"""Resource providers: their types and their registration.

Source: https://learn.microsoft.com/rest/api/resources/providers
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.catalog import Provider
from aiomsi.testing._state.provider_registry import ALWAYS_REGISTERED, render_type


def list_providers(call: ArmCall) -> Answer:
    """Return a page of all providers, of a subscription or of the tenant."""
    return make_page(
        call, call.state.registry.providers(), lambda provider: _render(call, provider)
    )


def get_provider(call: ArmCall) -> Answer:
    """Return the response to a GET of a provider; the GET advances a pending registration."""
    return make_json_answer(200, _render(call, _require_provider(call)))


def list_types(call: ArmCall) -> Answer:
    """Return the types of a provider."""
    return make_json_answer(
        200, {"value": [render_type(one) for one in _require_provider(call).types.values()]}
    )


def register(call: ArmCall) -> Answer:
    """Start to register, or unregister, a provider in a subscription."""
    provider, subscription = _require_provider(call), call.names["subscription"]
    unregister = call.names["verb"].lower() == "unregister"
    if unregister and provider.namespace.lower() in ALWAYS_REGISTERED:
        text = f"The resource provider '{provider.namespace}' cannot be unregistered."
        raise call.refuse(400, "CannotUnregisterResourceProvider", text)
    call.state.registry.change(subscription, provider.namespace, register=not unregister)
    return make_json_answer(200, _render(call, provider, poll=False))


def _require_provider(call: ArmCall) -> Provider:
    provider = call.state.registry.provider(call.names["namespace"])
    if provider is None:
        text = f"The resource namespace '{call.names['namespace']}' is invalid."
        raise call.refuse(404, "InvalidResourceNamespace", text)
    return provider


def _render(call: ArmCall, provider: Provider, *, poll: bool = True) -> dict[str, object]:
    subscription, namespace = call.names.get("subscription"), provider.namespace
    types = [render_type(one) for one in provider.types.values()]
    if subscription is None:
        return {"id": f"/providers/{namespace}", "namespace": namespace, "resourceTypes": types}
    registry = call.state.registry
    read_state = registry.poll if poll else registry.state
    subscription_id = call.azure.subscription(subscription).subscription_id
    return {
        "id": f"/subscriptions/{subscription_id}/providers/{namespace}",
        "namespace": namespace,
        "resourceTypes": types,
        "registrationState": read_state(subscription, namespace),
        "registrationPolicy": "RegistrationFree"
        if namespace.lower() in ALWAYS_REGISTERED
        else "RegistrationRequired",
    }
