"""YAML with the types of JSON alone, which OpenAPI asks of its documents (OpenAPI 3.0.3, section "Format")."""

from __future__ import annotations

import re
from typing import Any

import yaml

_DIGITS = "0123456789"
_TYPES = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+", [*"-+", *_DIGITS]),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", [*"-+.", *_DIGITS]),
    ("merge", r"<<", ["<"]),
)
"""Of YAML 1.2's core schema what JSON has too: pattern, and how it may begin. PyYAML's own types are those of YAML 1.1,
where `2024-01-01` is a date, `no` is false, and `10:30` is 630."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _name, _pattern, _first in _TYPES:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def load_yaml(text: str) -> Any:
    """Parse a document in YAML, of which JSON is a part.

    Raises:
        yaml.YAMLError: It is none.
    """
    return yaml.load(text, Loader=_Loader)  # a SafeLoader
