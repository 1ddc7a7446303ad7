"""Keeps the account: the life of a run, who is told of it, what is deferred, the end. Knows no framework."""
