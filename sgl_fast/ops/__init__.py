"""The fused operations: the checks, the equations and the schema of each, over the backends."""
