"""What a scheduler runs every night: skew, drift, diagnosis."""
