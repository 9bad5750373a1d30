"""Management groups, and a tenant with one trouble of each kind."""
