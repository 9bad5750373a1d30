"""The version, as a constant: `importlib.metadata` takes longer than half of this package."""

VERSION = "0.1.0"
