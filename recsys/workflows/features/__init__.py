"""How events become feature tables and get online."""
