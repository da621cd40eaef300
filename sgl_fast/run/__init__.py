"""Runs: what the commands do, their folders, checkpoints, pictures."""
