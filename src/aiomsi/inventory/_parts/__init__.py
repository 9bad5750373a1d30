"""The part files of a run, one for each scope."""
