"""The ARM protocol as values and pure functions; no I/O."""
