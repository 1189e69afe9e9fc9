"""Ray itself: found, started on this machine where there is no cluster, and kept from chatting on stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from labelspace.errors import MissingExtra

_STORE = 100 << 20
"""Bytes of Ray's object store, where Ray is started here: only file names and counts go through it."""


def import_ray(address: str | None) -> Any:
    """The package, with its data sets; `address` is that of a cluster, None where there is none.

    Raises:
        MissingExtra: Ray is not installed.
    """
    if address is None:
        # Whatever its name says: a Ray that is started here then listens on loopback only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    return ray


def start_ray(ray: Any, address: str | None, workers: int | None) -> None:
    """Join the cluster at an address, or start one of `workers` CPUs on this machine."""
    how: dict[str, Any] = {"address": address}
    if address is None:
        how = {"address": "local", "num_cpus": workers, "include_dashboard": False, "object_store_memory": _STORE}
        how["_node_ip_address"] = "127.0.0.1"
    with _mute():
        ray.init(log_to_driver=False, logging_level="ERROR", **how)


def quieten(data: Any) -> None:
    """No bars and no remarks by Ray Data: progress is shown by whoever called."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False


@contextlib.contextmanager
def _mute() -> Iterator[None]:
    """Keep what Ray's own processes say off stderr; what goes wrong is an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
