"""Inventories on a Dask cluster: the client's half, and that of the workers."""
