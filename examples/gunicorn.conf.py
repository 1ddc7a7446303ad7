"""gunicorn for an application with Afterword and several workers.

``gunicorn -c examples/gunicorn.conf.py examples.shop.app:app``
"""

import os
import tempfile

# before anything imports prometheus_client, which decides then how to count
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", os.path.join(tempfile.gettempdir(), "shop-metrics"))

from afterword.multiprocess import child_exit, on_starting

bind = os.environ.get("SHOP_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("SHOP_WORKERS", "2"))
worker_class = "uvicorn_worker.UvicornWorker"

__all__ = ["bind", "child_exit", "on_starting", "worker_class", "workers"]
