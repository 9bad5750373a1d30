"""The report of an inventory: one HTML file that sends no request."""
