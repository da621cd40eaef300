"""Algorithm 1: passes, hypergradient, the step of a search."""
