"""Grafana dashboards of Epilogue as code: ``python -m dashboards.build`` writes the JSON in ``grafana/``."""
