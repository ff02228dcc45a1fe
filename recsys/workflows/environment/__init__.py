"""Whether an environment can work: its machine and its stores."""
