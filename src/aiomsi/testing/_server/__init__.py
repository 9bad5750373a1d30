"""The HTTP server of the embedded services."""
