"""The credentials, and the token fetches that they start."""
