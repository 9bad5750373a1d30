"""Run in an environment that has the bare wheel: the package works without any extra, and needs the three core packages only."""

from importlib.metadata import requires

import aiomsi

core = sorted(line.split(">=")[0] for line in requires("aiomsi") or [] if "extra ==" not in line)
assert core == ["aiohttp", "anyio", "attrs"], core
assert aiomsi.ManagedIdentityCredential.__doc__
try:
    aiomsi.HostGate()
except aiomsi.ConfigurationError as error:
    assert "aiomsi[gate]" in error.help, error
else:
    raise AssertionError("filelock is here without the extra")
print("aiomsi needs", ", ".join(core))
