"""The embedded ARM."""
