"""Intervals, power and tests: thin over tea-tasting, numpy and scipy."""
