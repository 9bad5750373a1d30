"""The scopes of an inventory: which subscriptions, and how each list ended."""
