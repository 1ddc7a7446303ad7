"""Told while something goes on, and not at its end: a shutdown that waits, a task that takes long."""
