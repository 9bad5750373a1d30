"""Long-running operations: their state, and the meaning of each poll; no I/O."""
