"""Tells: one observer a signal, each knowing only the model and the names on the wire."""
