"""The reading of scopes through Resource Graph: queries for many subscriptions, reconciled."""
