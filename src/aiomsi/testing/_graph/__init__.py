"""The tables of the embedded Resource Graph, whose rows come from the state or are generated."""
