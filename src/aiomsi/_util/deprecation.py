"""Former names of a class's fields, which still work and raise a `DeprecationWarning`."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


def rename_fields(names: Mapping[str, str]) -> Callable[[_Class], _Class]:
    """Return a class decorator that accepts former field names as keywords and as attributes.

    The warning points to the line that uses the former name. The wrapper runs only when an instance
    is created, and `__getattr__` only for an attribute that the class does not have.

    Args:
        names: for each former name its present one.

    """

    def decorate(cls: _Class) -> _Class:
        target: Any = cls
        create = target.__init__

        @functools.wraps(create)
        def init(self: object, *args: object, **fields: object) -> None:
            for former in [name for name in fields if name in names]:
                if names[former] in fields:
                    text = f"{former!r} is the former name of {names[former]!r}"
                    msg = f"{cls.__name__}: {text}, so pass one of them"
                    raise TypeError(msg)
                _warn(cls, former, names[former])
                fields[names[former]] = fields.pop(former)
            create(self, *args, **fields)

        def get(self: object, name: str) -> object:
            if name not in names:
                msg = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(msg, name=name, obj=self)
            _warn(cls, name, names[name])
            return getattr(self, names[name])

        target.__init__, target.__getattr__ = init, get
        return cls

    return decorate


def _warn(cls: type, former: str, name: str) -> None:
    text = f"{cls.__name__}.{former} is now {cls.__name__}.{name}"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
