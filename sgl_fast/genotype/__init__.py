"""Genotypes: what they are, how they are derived, those that were published."""
