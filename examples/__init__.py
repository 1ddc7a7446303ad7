"""Applications that show Epilogue at work."""
