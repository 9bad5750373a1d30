"""The checks of `aiomsi doctor`: pure functions of what the probes found."""
