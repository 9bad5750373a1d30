"""Helpers that know no word of Azure."""
