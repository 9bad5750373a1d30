"""The scenarios: one file each, found by this registry. Each has a `SCENARIO`, of which `plan.Scenario` says what it consists.

They need the standard library only: what a client needs is imported by the worker, with the client.
"""

import importlib
import pkgutil

from plan import Scenario


def _found() -> dict[str, Scenario]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    scenarios: list[Scenario] = [
        importlib.import_module(f"{__name__}.{name}").SCENARIO for name in names
    ]
    return {scenario.name: scenario for scenario in scenarios}


SCENARIOS = _found()
