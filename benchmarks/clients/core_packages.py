"""No client: importing the three packages that aiomsi needs, to compare start-up with (scenario `import`)."""

ABOUT = "no client: importing aiohttp, attrs and anyio"
NEEDS = ("aiohttp", "attrs", "anyio")
READY = "import aiohttp, attrs, anyio"
