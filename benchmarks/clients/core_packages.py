"""No client: imports of the three packages that aiomsi needs, as the reference of `import`."""

ABOUT = "no client: importing aiohttp, attrs and anyio"
NEEDS = ("aiohttp", "attrs", "anyio")
READY = "import aiohttp, attrs, anyio"
