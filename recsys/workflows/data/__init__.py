"""How the shop's data come in, are made up, and are forgotten."""
