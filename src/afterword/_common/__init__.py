"""The words: model, names on the wire, task names, bounds, context, text, log output. Imports nothing above."""

__version__ = "0.1.0"
"""The version, in one place: the build and ``afterword_info`` read it from here."""
