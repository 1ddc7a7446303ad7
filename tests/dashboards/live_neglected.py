"""The shop with an observer of its own that is broken: its dashboard is not there."""

from afterword import TaskObserver, TaskRun, instrument
from examples.shop.app import app


class WallBoard(TaskObserver):
    """Shows the last task on a wall."""

    def ended(self, run: TaskRun) -> None:
        """Fail to."""
        raise ConnectionRefusedError("no wall board")


instrument(app, observers=[WallBoard()])
