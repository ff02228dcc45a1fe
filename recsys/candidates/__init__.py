"""Which items may enter a list: sources and their union, shared by training, batch and online."""
