"""Afterword beside its peers and on every runtime, in environments of their own: `make matrix`."""
