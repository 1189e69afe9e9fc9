"""What a million tokens cost, from a table that users extend; an unknown price is said, never guessed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labelspace.errors import ConfigError

SHIPPED = Path(__file__).with_name("prices.yaml")


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars for so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def own_prices() -> Path:
    """The user's table: LABELSPACE_PRICES, or labelspace/prices.yaml in the folder for settings."""
    if named := os.environ.get("LABELSPACE_PRICES"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "labelspace" / "prices.yaml"


def find_price(model: str, *, table: Path | str | None = None) -> Price | None:
    """The price of a model, None where no table has it.

    A dated name has the price of its family: `gpt-4o-mini-2024-07-18` that of `gpt-4o-mini`. What
    stands before a `:` or `/` in the name (the provider) does not count.

    Args:
        model: Its name or model string.
        table: A further table, which comes before the user's and ours.

    Raises:
        ConfigError: A table is not one.
    """
    if model.startswith(("hf:", "vllm:")):
        return Price(0.0, 0.0)
    name = model.rpartition("#")[2].rpartition(":")[2]
    names = [name, name.rpartition("/")[2]]
    names += [re.sub(r"-(20\d\d-?\d\d-?\d\d|\d{4}|latest)$", "", one) for one in names]
    for path in (table, own_prices(), SHIPPED):
        if path is None or not (Path(path).is_file() or path is table):
            continue
        prices = _read(Path(path))
        for one in names:
            if one in prices:
                return prices[one]
    return None


def _read(path: Path) -> dict[str, Price]:
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
        data: Any = yaml.load(path.read_text(encoding="utf-8"), loader)
        return {
            str(name): Price(float(price["input"]), float(price["output"])) for name, price in data["models"].items()
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no table of prices ({type(error).__name__}: {error}); it holds "
            "`models: {NAME: {input: DOLLARS, output: DOLLARS}}` for a million tokens"
        ) from error
