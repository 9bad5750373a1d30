"""JSON by orjson where it is installed (`aiomsi[speed]`), else by the standard library."""

import json
from collections.abc import Callable
from typing import Any

loads: Callable[[bytes], Any]
dumps: Callable[[Any], bytes]

try:
    import orjson
except ImportError:
    loads = json.loads

    def dumps(value: Any) -> bytes:
        """Encode a value as JSON in UTF-8."""
        return json.dumps(value, separators=(",", ":")).encode()
else:
    loads, dumps = orjson.loads, orjson.dumps
