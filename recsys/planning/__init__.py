"""How do the declarations differ from what was applied, whom does that hit, and is it allowed?"""
