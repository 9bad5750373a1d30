"""Integrations with other libraries, a module for each; importing one imports its library."""
