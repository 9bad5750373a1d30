"""No client: an interpreter with an event loop and nothing else, to compare start-up with (scenario `import`)."""

ABOUT = "no client: an interpreter with asyncio"
NEEDS = ()
READY = ""
