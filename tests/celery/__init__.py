"""Tasks that Celery runs: on a real Redis, in real workers."""
