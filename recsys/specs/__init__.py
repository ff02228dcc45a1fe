"""What people declare under registry/: problems, models, placements, experiments and environments."""
