"""The state of the embedded Azure."""
