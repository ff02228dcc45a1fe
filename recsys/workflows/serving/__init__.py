"""How a resolver is put together, and what a running service answers from."""
