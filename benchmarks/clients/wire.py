"""URLs, versions and tokens that the origin and the clients share."""

SCOPE = "https://management.azure.com/.default"
RESOURCE = "https://management.azure.com/"
IMDS_PATH = "/metadata/identity/oauth2/token"
IMDS_API_VERSION = "2018-02-01"
API_VERSION = "2025-04-01"
LIST_VERSION = "2021-04-01"
"""The api-version of lists of resources, in the scenario `inventory`."""
SUBSCRIPTION = "00000000-0000-4000-8000-00000000beef"
_SUBSCRIPTIONS = SUBSCRIPTION.rpartition("-")[0]

TOKEN = "opaque-" + "0123456789abcdef" * 100
"""The prefix of every token: as long as a real token, but no JWT, so that no client parses it."""


def group_path(name: str, subscription: str = SUBSCRIPTION) -> str:
    """Return the path of a resource group; most ARM calls of the benchmark GET one."""
    return f"/subscriptions/{subscription}/resourceGroups/{name}"


def make_subscription_id(number: int) -> str:
    """Return the id of a subscription, for the scenarios with several of them."""
    return f"{_SUBSCRIPTIONS}-{number:012x}"


def parse_subscription_number(subscription: bytes) -> int:
    """Return the number of the subscription with this id."""
    return int(subscription[-12:], 16)


RESOURCES_PATH = f"/subscriptions/{SUBSCRIPTION}/resources"
"""The path of the list of all resources, in the scenario `pages`."""
