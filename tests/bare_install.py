"""Check, with the bare wheel, that the package works with its three core packages only."""

from importlib.metadata import requires

import aiomsi

core = sorted(line.split(">=")[0] for line in requires("aiomsi") or [] if "extra ==" not in line)
assert core == ["aiohttp", "anyio", "attrs"], core
assert aiomsi.ManagedIdentityCredential.__doc__
without_gate = ""
try:
    aiomsi.HostGate()
except aiomsi.ConfigurationError as error:
    without_gate = error.help
assert "aiomsi[gate]" in without_gate, without_gate
print("aiomsi needs", ", ".join(core))
