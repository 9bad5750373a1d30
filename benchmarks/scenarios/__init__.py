"""The scenarios: one file each, with a `plan.Scenario` named `SCENARIO`, found by this registry.

They need the standard library only; the worker imports the packages of a client with the client.
"""

import importlib
import pkgutil

from plan import Scenario


def _find() -> dict[str, Scenario]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    scenarios: list[Scenario] = [
        importlib.import_module(f"{__name__}.{name}").SCENARIO for name in names
    ]
    return {scenario.name: scenario for scenario in scenarios}


SCENARIOS = _find()
