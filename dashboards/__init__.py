"""Grafana dashboards of Afterword as code: ``python -m dashboards.build`` writes the JSON in ``grafana/``."""
