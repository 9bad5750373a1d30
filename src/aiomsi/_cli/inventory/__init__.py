"""The command `aiomsi inventory`."""
