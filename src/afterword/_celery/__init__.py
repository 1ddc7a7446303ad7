"""Everything that knows Celery: what is patched, who publishes, what becomes of a message in a worker."""
