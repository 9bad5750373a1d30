"""The single flight: a token's values and decisions, and the slot and flights that renew it."""
