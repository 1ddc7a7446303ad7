"""Keeps the account: the life of a run, its observers, deferred work, shutdown. Independent of any framework."""
