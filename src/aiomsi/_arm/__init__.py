"""Azure Resource Manager: the session, its requests and their responses."""
