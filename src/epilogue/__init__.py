"""An account of every FastAPI and Starlette background task."""
