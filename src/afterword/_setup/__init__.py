"""Wires: ``instrument``, ``configure``, the environment, the ``/metrics`` route."""
