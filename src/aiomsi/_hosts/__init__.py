"""Token endpoints: their requests, and the meaning of their responses; no I/O."""
