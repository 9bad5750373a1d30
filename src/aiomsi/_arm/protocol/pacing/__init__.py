"""Pacing of the calls to ARM: decisions about when a request may be sent. No I/O."""
