"""Which problem is worth a model, and which of its stages."""
