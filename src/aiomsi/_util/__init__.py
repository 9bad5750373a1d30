"""Helpers that are independent of Azure."""
