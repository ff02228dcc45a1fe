"""How an experiment is planned, replayed and evaluated, and how its log leaves its database."""
