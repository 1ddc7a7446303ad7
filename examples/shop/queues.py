"""Which task waits in which queue. Each has one of its own, so that a full queue says what is not done."""

from typing import Final

QUEUES: Final = {"write_statement": "statements", "send_statement": "letters", "archive_statement": "archive"}
CONSUMED: Final = ("statements", "letters")
"""What the workers are told to take. The mistake: nobody consumes the archive's queue."""
