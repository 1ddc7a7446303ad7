"""The numbers that all metrics read: of each task, and of each queue."""
