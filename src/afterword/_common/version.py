"""The version, in one place: the build and `afterword_info` read it from here."""

__version__ = "0.1.0"
