"""What is told of the tasks of a queue: published in one process, run in another."""
