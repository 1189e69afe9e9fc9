"""Label spaces: named labels with descriptions, flat or in a tree, single- or multi-label.

A taxonomy is a label space with parents, a tool set is one whose labels are tools, a tag set
one for tokens. The order of the labels is part of the identity of a space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from labelspace.errors import SpaceError
from labelspace.space_diff import SpaceDiff, compare

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads YAML safely; libyaml's, where it is there, takes seconds for 50,000 labels and not minutes."""


class Label(BaseModel):
    """One label of a space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Unique in its space; what predictions carry."""
    description: str = ""
    """What belongs here, in a sentence or two; prompts and embedders read it."""
    parent: str | None = None
    """Name of the label above this one, or None at the top."""
    examples: tuple[str, ...] = ()
    """Short texts that belong here."""
    instructions: str = ""
    """Longer guidance for an annotator: what belongs, what does not, borderline cases."""

    @model_validator(mode="after")
    def _has_a_name(self) -> Label:
        if not self.name.strip() or self.name != self.name.strip():
            raise ValueError(f"a label's name must have text and no surrounding blanks, not {self.name!r}")
        return self


class LabelSpace(BaseModel):
    """Labels that a text can have.

    Names are unique and parents form a forest. Only leaves are assigned to texts; the labels
    above them group them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    name: str = "labels"
    labels: tuple[Label, ...]
    multi_label: bool = False
    """Whether a text can have several labels, or none."""
    other: str | None = None
    """Name of the bucket for what fits nowhere; offered at assignment only, never a label of the space."""

    @model_validator(mode="after")
    def _is_a_forest(self) -> LabelSpace:
        names = [label.name for label in self.labels]
        if not names:
            raise ValueError("a label space needs at least one label")
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise ValueError(f"two labels are named {name!r}; names must be unique")
            seen.add(name)
        if self.other in seen:
            raise ValueError(f"the 'other' bucket {self.other!r} is also a label; leave it out of the labels")
        parents = {label.name: label.parent for label in self.labels}
        for name, parent in parents.items():
            if parent is not None and parent not in seen:
                raise ValueError(f"label {name!r} has the parent {parent!r}, which is not a label of this space")
        for name in names:
            walked, at = {name}, parents[name]
            while at is not None:
                if at in walked:
                    raise ValueError(f"label {name!r} is its own ancestor: {' > '.join([*walked, at])}")
                walked.add(at)
                at = parents[at]
        return self

    # -- making and saving -------------------------------------------------------------------

    @classmethod
    def of(cls, names: Iterable[str], *, name: str = "labels", multi_label: bool = False) -> LabelSpace:
        """Make a flat space from names alone."""
        return cls(name=name, labels=tuple(Label(name=label) for label in names), multi_label=multi_label)

    @classmethod
    def load(cls, path: str | Path) -> LabelSpace:
        """Read a space from YAML or JSON.

        Raises:
            SpaceError: The file is missing, is not YAML, or does not describe a label space.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            return cls.from_data(json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_Loader))
        except FileNotFoundError:
            raise SpaceError(
                f"{path}: no such label space; make one with `labelspace discover DATA --out {path}`"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(f"{path}: can't be read as a label space: {error}") from error
        except (yaml.YAMLError, json.JSONDecodeError) as error:
            form = "JSON" if path.suffix == ".json" else "YAML"
            raise SpaceError(f"{path}: not valid {form}: {' '.join(str(error).split())}") from error
        except SpaceError as error:
            raise SpaceError(f"{path}: {error}") from error

    @classmethod
    def from_data(cls, data: Any) -> LabelSpace:
        """Make a space from parsed YAML or JSON.

        Labels may be mappings or bare names.

        Raises:
            SpaceError: The data does not describe a label space.
        """
        if not isinstance(data, dict) or not isinstance(data.get("labels"), list):
            raise SpaceError("a label space is a mapping with a list under 'labels'")
        labels = [{"name": item} if isinstance(item, str) else item for item in data["labels"]]
        try:
            return cls.model_validate({**data, "labels": labels})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            problem = first["msg"].removeprefix("Value error, ")
            raise SpaceError(f"{where}: {problem}" if where else problem) from error

    def save(self, path: str | Path) -> None:
        """Write the space as YAML, or as JSON where the name ends in .json.

        Raises:
            SpaceError: The file can't be written.
        """
        path = Path(path)
        as_json = json.dumps(self.to_data(), ensure_ascii=False, indent=1) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_json if path.suffix == ".json" else self.to_yaml(), encoding="utf-8")
        except OSError as error:
            raise SpaceError(f"{path}: can't be written: {error.strerror}") from error

    def to_yaml(self) -> str:
        """The space as YAML, as `save` writes it."""
        return yaml.safe_dump(self.to_data(), sort_keys=False, allow_unicode=True, width=100)

    def to_data(self) -> dict[str, Any]:
        """Plain data that `from_data` reads back; fields at their defaults are left out."""
        head = self.model_dump(mode="json", exclude={"labels"}, exclude_none=True)
        head["labels"] = [label.model_dump(mode="json", exclude_defaults=True) for label in self.labels]
        return head

    @cached_property
    def version(self) -> str:
        """Twelve hex digits over the content: equal where names, order, texts and tree are equal."""
        canonical = json.dumps(self.to_data(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    # -- looking up --------------------------------------------------------------------------

    @cached_property
    def _by_name(self) -> dict[str, Label]:
        return {label.name: label for label in self.labels}

    @cached_property
    def _children(self) -> dict[str | None, tuple[str, ...]]:
        below: dict[str | None, list[str]] = {}
        for label in self.labels:
            below.setdefault(label.parent, []).append(label.name)
        return {parent: tuple(names) for parent, names in below.items()}

    def __contains__(self, name: object) -> bool:
        """Whether a label of this name is in the space."""
        return name in self._by_name

    def __len__(self) -> int:
        """How many labels there are, on all levels."""
        return len(self.labels)

    def __getitem__(self, name: str) -> Label:
        """The label of this name.

        Raises:
            SpaceError: There is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise SpaceError(self.unknown(name)) from None

    def unknown(self, name: str) -> str:
        """Say that `name` is not a label here, with the nearest names that are."""
        import difflib

        near = difflib.get_close_matches(name, list(self._by_name), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {len(self)} labels"
        return f"the label {name!r} is not in the space {self.name!r}; {hint}"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all labels, in order."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """Names of the labels that have none below them, in order: what a text can be given."""
        return tuple(name for name in self.names if name not in self._children)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """Names of the labels at the top, in order."""
        return self._children.get(None, ())

    @cached_property
    def is_flat(self) -> bool:
        """Whether no label has a parent."""
        return all(label.parent is None for label in self.labels)

    def children(self, name: str | None) -> tuple[str, ...]:
        """Names of the labels directly below `name`; those at the top for None."""
        return self._children.get(name, ())

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Names above `name`, from its parent up to its root."""
        found = []
        at = self[name].parent
        while at is not None:
            found.append(at)
            at = self._by_name[at].parent
        return tuple(found)

    def path(self, name: str) -> tuple[str, ...]:
        """Names from the root down to `name` itself."""
        return (*reversed(self.ancestors(name)), name)

    def distance(self, one: str, two: str) -> int:
        """Edges between two labels in the tree, whose roots hang under one common node."""
        first, second = self.path(one), self.path(two)
        shared = 0
        for a, b in zip(first, second, strict=False):
            if a != b:
                break
            shared += 1
        return len(first) + len(second) - 2 * shared

    # -- changing ----------------------------------------------------------------------------

    def diff(self, new: LabelSpace, *, renamed: dict[str, str] | None = None) -> SpaceDiff:
        """What has to be done to get from this space to `new`.

        Args:
            new: The space to compare with.
            renamed: Old name to new name, where that is known. Otherwise a label that is gone
                counts as renamed where exactly one new label has the same description.
        """
        return compare(self, new, renamed=renamed)
