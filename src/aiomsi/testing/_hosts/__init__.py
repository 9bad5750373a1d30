"""The embedded token endpoints."""
