"""What is worth predicting: the funnel and the planner."""
