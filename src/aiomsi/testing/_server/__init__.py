"""The server under the embedded services."""
