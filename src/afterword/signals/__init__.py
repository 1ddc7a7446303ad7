"""One observer per signal; each knows only the vocabulary and the names."""
