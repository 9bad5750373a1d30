"""`QueryError`: a query that Resource Graph refuses, or that the embedded subset lacks.

The codes and texts are Resource Graph's, because clients match on them, except for
``EmbeddedSubset`` and ``SemanticError``.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

_INVALID = (
    "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and "
    "fix the error before retrying."
)


@attrs.frozen
class QueryError(Exception):
    """A query that cannot be run.

    Attributes:
        code: code of the detail.
        message: text of the detail.
        place: further members of the detail, such as the line and the token.
        invalid: whether the first detail says that the query is invalid.

    """

    code: str
    message: str
    place: Mapping[str, object] = attrs.field(factory=dict)
    invalid: bool = True

    def list_details(self) -> list[dict[str, object]]:
        """Return the details of the error response."""
        own: dict[str, object] = {"code": self.code, "message": self.message, **self.place}
        return [{"code": "InvalidQuery", "message": _INVALID}, own] if self.invalid else [own]


def make_unsupported(what: str) -> QueryError:
    """Return the error of a query that the real service may accept."""
    return QueryError(
        "EmbeddedSubset", f"The embedded subset of the query language does not have {what}."
    )


def make_semantic(message: str) -> QueryError:
    """Return the error of a query whose words have no meaning together."""
    return QueryError("SemanticError", message)


def make_unresolved(name: str) -> QueryError:
    """Return the error of a name that is no column here."""
    return make_semantic(f"Failed to resolve scalar expression named '{name}'.")


def make_unknown_function(name: str) -> QueryError:
    """Return the error of an unknown function."""
    return QueryError("UnknownFunction", f"Unknown function: '{name}'.")


def make_unknown_operator(name: str) -> QueryError:
    """Return the error of an unknown operator."""
    place = {"line": -1, "characterPositionInLine": -1, "token": name}
    return QueryError("InvalidQueryLanguage", "InvalidQueryLanguage", place)


def make_unknown_table(name: str) -> QueryError:
    """Return the error of an unknown table."""
    text = f"Table {name} is invalid, unsupported or disallowed."
    return QueryError("DisallowedLogicalTableName", text, invalid=False)
