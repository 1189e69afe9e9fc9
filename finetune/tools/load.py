"""What was trained for tools, read from its folder, whichever of the models it is."""

from __future__ import annotations

from pathlib import Path

from labelspace.errors import ConfigError
from labelspace.finetune.tools.mlc import ToolMLC
from labelspace.finetune.tools.refiner import ToolRefiner
from labelspace.finetune.tools.triplets import QueryEncoder

_KINDS: dict[str, type[ToolMLC | QueryEncoder | ToolRefiner]] = {
    "mlc.json": ToolMLC,
    "triplets.json": QueryEncoder,
    "refiner.json": ToolRefiner,
}


def load_trained(folder: Path) -> ToolMLC | QueryEncoder | ToolRefiner:
    """Read a classifier of tools, an encoder of queries or a refiner.

    Raises:
        ConfigError: The folder holds none of them, or its base is gone.
    """
    for name, kind in _KINDS.items():
        if (folder / name).exists():
            return kind.load(folder)
    raise ConfigError(f"{folder}: holds no trained model of tools: none of {', '.join(_KINDS)}")
