"""Everything that knows Starlette and FastAPI: patches, tasks, batches, requests and errors."""
