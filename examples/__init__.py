"""Applications that show Afterword at work."""
