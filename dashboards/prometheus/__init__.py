"""Recording rules and alerts, and a Prometheus to try them with: ``python -m dashboards.prometheus.serve``."""
