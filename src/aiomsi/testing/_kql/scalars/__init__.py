"""Expressions: their values, types and functions."""
