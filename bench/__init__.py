"""Benchmarks against eager PyTorch, interleaved in one process: pytest bench --benchmark-only."""
