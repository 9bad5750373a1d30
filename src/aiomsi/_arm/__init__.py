"""Azure Resource Manager: requests, answers, ids, and the session that joins them."""
