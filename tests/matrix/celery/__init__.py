"""The matrix' cells of Celery: a prefork worker, and who publishes to it, beside a peer."""
