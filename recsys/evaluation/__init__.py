"""What an experiment did: health, effects and intervals from the event log."""
