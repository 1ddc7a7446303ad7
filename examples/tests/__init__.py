"""How an application's own tests look: ``python -m pytest examples/tests``."""
