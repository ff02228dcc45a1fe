"""What is known for and against a promotion, and how it is made."""
