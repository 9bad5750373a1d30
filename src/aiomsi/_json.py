"""JSON by orjson where it is installed (`aiomsi[speed]`), else by the standard library."""

import json
from collections.abc import Callable
from typing import Any

loads: Callable[[bytes], Any]
dumps: Callable[[Any], bytes]

try:
    import orjson
except ImportError:
    _decode = json.JSONDecoder().decode

    def loads(data: bytes) -> Any:
        """Decode JSON. To find out the encoding takes the library half as long again; an object or a list is in UTF-8."""
        return _decode(data.decode()) if data[:1] in (b"{", b"[") else json.loads(data)

    def dumps(value: Any) -> bytes:
        """Encode a value as JSON in UTF-8."""
        return json.dumps(value, separators=(",", ":")).encode()
else:
    loads, dumps = orjson.loads, orjson.dumps
