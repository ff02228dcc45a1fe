"""Who sees which arm: bucketing, allocation and routing."""
