"""The parts of `aiomsi demo`. All of their requests go to an embedded Azure."""
