"""What is the problem: the funnel of an event log, what its stages are worth, and which of them to model.

rows → chain → figures → quality, need → segments → planner (channels, levers).
"""
