"""Long-running operations: where they stand, and the meaning of each poll; no I/O."""
