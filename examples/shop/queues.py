"""Which task waits in which queue. Each has one of its own, so that a full queue says what is not done."""

from typing import Final

QUEUES: Final = {"write_statement": "statements", "send_statement": "letters", "archive_statement": "archive"}
# On purpose, "a queue without a worker": nobody consumes the archive's.
# Right: CONSUMED = tuple(QUEUES.values()).
CONSUMED: Final = ("statements", "letters")
"""What the workers are told to take."""
