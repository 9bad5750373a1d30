"""The values and decisions of `ArmSession.fan_out`; no I/O."""
