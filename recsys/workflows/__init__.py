"""One module a command: the only place where the stages of the life cycle meet."""
