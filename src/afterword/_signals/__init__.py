"""One observer per signal. Each knows only the model and the names on the wire."""
