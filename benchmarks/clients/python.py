"""No client: an interpreter with an event loop only, for comparison in the scenario `import`."""

ABOUT = "no client: an interpreter with asyncio"
NEEDS = ()
READY = ""
