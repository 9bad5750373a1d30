"""The checks of `aiomsi doctor`: pure functions of the results of its probes."""
