"""Several worker processes count in files that any of them can read: ``PROMETHEUS_MULTIPROC_DIR``."""
