"""What an experiment did, and what campaigns brought: health, effects and intervals from the event log."""
