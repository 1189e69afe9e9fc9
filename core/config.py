"""Configs: a YAML file, `key=value` overrides, one frozen pydantic model that refuses unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from labelspace.errors import ConfigError


class Config(BaseModel):
    """Base of every recipe's config: frozen; a key that it does not have is an error, and so is NaN.

    What is given of a config within a config is put over that field's default, not over the defaults of its class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = {name: field.default for name, field in cls.model_fields.items()}
        return {name: _over(fields.get(name), value) for name, value in data.items()}


def _over(held: Any, given: Any) -> Any:
    """A mapping over a config, level by level; anything else as it is given."""
    if not (isinstance(held, Config) and isinstance(given, dict)):
        return given
    return {**held.model_dump(), **{key: _over(getattr(held, key, None), value) for key, value in given.items()}}


AnyConfig = TypeVar("AnyConfig", bound=Config)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        ConfigError: The file is missing, is not YAML, or holds no mapping.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read as a config: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values, not a {type(data).__name__}")
    return data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Put `key=value` pairs over a config; values are read as YAML, dots in a key go down a level.

    Raises:
        ConfigError: A pair has no `=`, its value is not YAML, or its key goes into something that is no mapping.
    """
    merged = dict(data)
    for pair in overrides:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"{pair!r} is not an override; write key=value")
        try:
            parsed = "-" if value == "-" else yaml.safe_load(value)  # the name of standard input, not a list
        except yaml.YAMLError as error:
            raise ConfigError(f"{pair!r}: the value is not valid YAML; quote it") from error
        *above, last = key.strip().split(".")
        inner = merged
        for part in above:
            below = inner.get(part, {})
            if not isinstance(below, dict):
                raise ConfigError(f"{pair!r}: {part!r} holds a value, not a mapping")
            inner[part] = inner = dict(below)
        inner[last] = parsed
    return merged


def validate(model: type[AnyConfig], data: dict[str, Any], *, origin: str) -> AnyConfig:
    """Make a config of plain data.

    Args:
        model: The config's class.
        data: Keys and values.
        origin: Where the data came from, for the message of an error.

    Raises:
        ConfigError: A key is unknown, missing or has a value that does not fit; all problems in one line.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_problem(model, item) for item in error.errors())
        raise ConfigError(f"{origin}: {problems}") from error


def _problem(model: type[BaseModel], item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, list(model.model_fields), n=1)
        known = f"did you mean {near[0]!r}?" if near else f"the keys are: {', '.join(model.model_fields)}"
        return f"unknown key {where!r}; {known}"
    if item["type"] == "missing":
        return f"the key {where!r} is missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}, not {item['input']!r}" if where else message


def to_yaml(config: Config) -> str:
    """Render the resolved config, with every default filled in, as it is printed and saved with a run."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
