"""ARM's limits: their settings, their buckets, and the responses to requests beyond them."""
