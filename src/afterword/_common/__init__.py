"""Shared vocabulary: the model, names on the wire, task names, label bounds, context, text and log output."""

__version__ = "0.1.0"
"""The version, in one place: the build and ``afterword_info`` read it from here."""
