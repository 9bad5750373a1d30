"""Error responses: their bodies, their codes, and the exceptions made of them; no I/O."""
