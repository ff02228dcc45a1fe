"""What is declared, whether it holds together, and how it differs from what was applied."""
