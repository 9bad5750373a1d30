"""Decisions and token requests that the integrations with HTTP clients share."""
