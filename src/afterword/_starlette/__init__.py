"""Sees and judges: everything that knows Starlette and FastAPI."""
