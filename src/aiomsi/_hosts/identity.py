"""`RequestedIdentity`, the identity of the host whose tokens a credential requests."""

from uuid import UUID

from aiomsi._errors import ConfigurationError


class RequestedIdentity:
    """An identity of the host: the system-assigned one, or a user-assigned one, by one id.

    Attributes:
        kind: None for the system-assigned identity, else ``"client_id"``, ``"object_id"`` or
            ``"resource_id"``.
        value: the id, as the caller wrote it.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("kind", "value")

    def __init__(self, kind: str | None = None, value: str = "") -> None:
        self.kind, self.value = kind, value

    @property
    def key(self) -> tuple[str | None, str]:
        """The identity as a key: GUIDs and resource ids compare without case."""
        return self.kind, self.value.lower()

    @classmethod
    def of(
        cls, client_id: str | None, object_id: str | None, resource_id: str | None
    ) -> "RequestedIdentity":
        """Create the identity that a credential's arguments name.

        Raises:
            ConfigurationError: more than one id is given, or one is malformed.

        """
        ids = {"client_id": client_id, "object_id": object_id, "resource_id": resource_id}
        given = {kind: value for kind, value in ids.items() if value is not None}
        if len(given) > 1:
            msg = f"at most one of {', '.join(given)} may be given"
            raise ConfigurationError(msg)
        if not given:
            return SYSTEM_ASSIGNED
        kind, value = given.popitem()
        _check_id(kind, value)
        return cls(kind, value)


SYSTEM_ASSIGNED = RequestedIdentity()


def read_client_id(client_id: str, variable: str) -> RequestedIdentity:
    """Return the identity that a variable of the environment names.

    Raises:
        ConfigurationError: the client id is malformed.

    """
    try:
        return RequestedIdentity.of(client_id, None, None)
    except ConfigurationError as error:
        msg = f"{variable} is malformed: {error.args[0]}"
        raise ConfigurationError(msg) from None


def _check_id(kind: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        msg = f"{kind} is empty or no string: {value!r}"
        raise ConfigurationError(msg, help="Leave it out for the system-assigned identity")
    if kind == "resource_id":
        parts = value.split("/")
        if len(parts) < 9 or parts[0] or parts[1].lower() != "subscriptions" or not all(parts[1:]):
            msg = f"resource_id is not the resource id of a managed identity: {value!r}"
            hint = (
                "It looks like '/subscriptions/…/providers/"
                "Microsoft.ManagedIdentity/userAssignedIdentities/<name>'"
            )
            raise ConfigurationError(msg, help=hint)
        return
    try:
        well_formed = UUID(value).hex == value.lower().replace("-", "") and len(value) == 36
    except ValueError:
        well_formed = False
    if not well_formed:
        msg = f"{kind} is not a GUID such as '00000000-0000-0000-0000-000000000000': {value!r}"
        raise ConfigurationError(msg)
