"""The lists that an inventory reads, and the rows that their items become."""
