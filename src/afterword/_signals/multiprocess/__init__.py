"""Several worker processes count in files that all of them can read (``PROMETHEUS_MULTIPROC_DIR``)."""
