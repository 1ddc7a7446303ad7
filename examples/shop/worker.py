"""What the shop leaves to Celery, when one process is not enough: the monthly statements.

``celery -A examples.shop.worker worker -Q statements,letters``; ``make demo-celery`` shows what happens.
"""

from __future__ import annotations

from aiosmtplib import SMTPException
from celery import Celery, chain

from afterword import configure, instrument

from . import tasks
from .queues import QUEUES
from .settings import settings

configure("shop")
celery_app = Celery("shop", broker=settings.broker)
instrument(celery_app, on_task_failure=[tasks.open_ticket])
celery_app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_redirect_stdouts=False,  # our lines are JSON, and Celery would write its own format around them
    broker_connection_retry_on_startup=True,
    # after so long another worker gets what a killed one had received and not begun; an hour is usual
    broker_transport_options={
        "visibility_timeout": 15,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)
write_statement = celery_app.task(tasks.write_statement, queue=QUEUES["write_statement"])
# On purpose, "tried again in vain": who is refused is refused the second time, too.
# Right: retry what may pass, SMTPConnectError and the answers with 4xx.
send_statement = celery_app.task(
    tasks.send_statement,
    queue=QUEUES["send_statement"],
    autoretry_for=[SMTPException],
    max_retries=1,
    default_retry_delay=1,
)
archive_statement = celery_app.task(tasks.archive_statement, queue=QUEUES["archive_statement"])


def order_statement(order: int, email: str) -> None:
    """Leave a statement to the workers: one writes it, then one sends it."""
    chain(write_statement.s(order), send_statement.s(email)).delay()
    archive_statement.delay(order)
