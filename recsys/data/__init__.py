"""What may come in, what was known when, and which periods of the feature tables are due?"""
