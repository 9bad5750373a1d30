"""Error responses: their bodies, their codes, and the exceptions created from them; no I/O."""
