"""What people declare under registry/: problems, models, placements, layers, experiments and environments."""
