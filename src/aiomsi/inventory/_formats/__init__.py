"""The formats of the output, and files that exist whole or not at all."""
