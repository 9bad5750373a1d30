"""The credentials, and the fetches under them."""
