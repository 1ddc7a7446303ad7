"""What an alert says of what fired it: its labels, its value, and the dashboard that shows it."""

from __future__ import annotations

from . import names
from .names import TASK
from .parts import OVERVIEW_UID, TASK_UID

GRAFANA = "http://localhost:3000"


def said(label: str, pipe: str = "") -> str:
    """Return the template of a label's value."""
    return f"{{{{ $labels.{label}{pipe} }}}}"


def dashboard(uid: str, **variables: str) -> str:
    """Return a link to a dashboard with these variables chosen."""
    chosen = "&".join(f"var-{name}={value}" for name, value in variables.items())
    return f"{GRAFANA}/d/{uid}?{chosen}"


JOB, INSTANCE, THIS_TASK = said("job"), said("instance"), said(TASK)
BROKER, QUEUE = map(said, names.QUEUE)
REASON, ROUTE, STATUS = map(said, (names.REASON, names.ROUTE, names.STATUS))
NUMBER = '{{ $value | printf "%.0f" }}'
PERCENT = "{{ $value | humanizePercentage }}"
TIME = "{{ $value | humanizeDuration }}"

THERE = {name: said(name, " | urlquery") for name in names.PROCESS}
OF_JOB = dashboard(OVERVIEW_UID, job=THERE["job"])
OF_PROCESS = dashboard(OVERVIEW_UID, **THERE)
OF_TASK = dashboard(TASK_UID, job=THERE["job"], task=said(TASK, " | urlquery"))
OF_TASK_THERE = dashboard(TASK_UID, **THERE, task=said(TASK, " | urlquery"))


def in_the_last_hour(record: str, *labels: str, **also: str) -> str:
    """Return the template of what is recorded of the last hour, for the labels of what fired and these values."""
    known = [f'{label}="{value}"' for label, value in also.items()]
    query = _query(f"{record}{{{','.join([*(f'{label}=%q' for label in labels), *known])}}}", *labels)
    return f'{{{{ with {query} }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ else }}}}{NUMBER}{{{{ end }}}}'


def what_runs_most(running: str, *labels: str) -> str:
    """Return a sentence that names the task of which most run, on average, if any does.

    ``running`` says how many run, with a ``%q`` for each of the labels.
    """
    query = _query(f"topk(1, {running} > 0)", *labels)
    task, average = f'{{{{ . | first | label "{TASK}" }}}}', '{{ . | first | value | printf "%.1f" }}'
    return f"{{{{ with {query} }}}} What runs most there is {task}, {average} at a time.{{{{ end }}}}"


def _query(query: str, *labels: str) -> str:
    return f"printf `{query}` {' '.join(f'$labels.{label}' for label in labels)} | query"
