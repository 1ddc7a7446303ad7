"""What a scrape is answered: text or OpenMetrics, compressed if asked, of this process or of all."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from .._common.faults import EXITS
from .._common.model import full_name
from .._ledger.journal.journal import Journal
from .._signals.multiprocess import directory
from .._signals.multiprocess.all_processes import AllProcesses
from .journal import pids_in


def render(
    registry: CollectorRegistry, journal: Journal | None, accept: str, encoding: str, wanted: list[str]
) -> tuple[bytes, dict[str, str]]:
    """Return the answer to a scrape and its headers: of this registry, or of all processes."""
    encode, content_type = _encoder(accept)
    if journal is not None:
        journal.recover()  # so that what has died by now is counted
    path = directory.directory()
    try:
        if path is not None and directory.several_processes() and directory.problem_with(path) is None:
            body = AllProcesses(path, wanted, partial(pids_in, journal)).encoded(encode)
        else:
            body = encode(registry.restricted_registry(wanted) if wanted else registry)
    except (Exception, *EXITS):
        raise
    except BaseException as exc:  # otherwise the request would look cancelled
        raise RuntimeError(f"a collector of the registry raised {full_name(exc)}") from exc
    headers = {"content-type": content_type}
    if gzip_accepted(encoding):
        body = gzip.compress(body, compresslevel=1)
        headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
    return body, headers


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accept)
    except Exception:  # noqa: BLE001  an invalid version, for example; the text format always works
        return choose_encoder("")
