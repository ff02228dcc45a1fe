"""Lists of all units, campaigns, what of them was sent, and what campaigns brought."""
