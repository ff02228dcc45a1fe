"""What does a shop look like of which everything is known? Users, items and events from a declaration and a seed."""
