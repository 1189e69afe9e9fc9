"""Labeling instructions: for each label a definition, what belongs, what does not, and borderline examples.

After "Thinking Like an Annotator" (Chang et al., 2023), who write instructions for image labels from labelled
images; here they are for texts, and written by a language model, label by label among those that are
easily mixed up. They are kept in a YAML file that also says whether they improved labels on held-out texts:
where they did not, they are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from labelspace.errors import ConfigError, SpaceError
from labelspace.progress import note
from labelspace.space import LabelSpace


class Borderline(BaseModel):
    """An invented document near the line between two labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    label: str
    why: str = ""


class Guidance(BaseModel):
    """The instructions for one label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    definition: str
    belongs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    borderline: tuple[Borderline, ...] = ()

    def text(self) -> str:
        """All of it on one line, as prompts show it."""
        parts = [self.definition]
        if self.belongs:
            parts.append("Belongs: " + "; ".join(self.belongs) + ".")
        if self.excludes:
            parts.append("Does not: " + "; ".join(self.excludes) + ".")
        parts += [
            f'Borderline: "{one.text}" is {one.label}' + f" ({one.why})." * bool(one.why) for one in self.borderline
        ]
        return " ".join(" ".join(parts).split()).replace("..", ".")


class Evidence(BaseModel):
    """How labels with the instructions compare with labels without, on texts that they were not written from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int
    measure: str
    without: float
    with_instructions: float
    low: float
    """Of the interval of the difference."""
    high: float
    p_value: float
    """Of a paired bootstrap test, two-sided."""


class Instructions(BaseModel):
    """A file of instructions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    """Name of the space."""
    used: bool
    """Whether `labelspace label --instructions` uses them: written by the test, and yours to change."""
    evidence: Evidence | None = None
    source: dict[str, Any] = {}
    """Model and prompt."""
    labels: dict[str, Guidance]

    @classmethod
    def load(cls, path: str | Path) -> Instructions:
        """Read a file.

        Raises:
            ConfigError: It is missing, or no file of instructions.
        """
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            return cls.model_validate(data)
        except OSError as error:
            raise ConfigError(f"{path}: can't be read as instructions: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "all of it"
            raise ConfigError(f"{path}: not a file of instructions: {where}: {first['msg']}") from error

    def save(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            ConfigError: It can't be written.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        try:
            Path(path).write_text(
                yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8"
            )
        except OSError as error:
            raise ConfigError(f"{path}: can't be written: {error.strerror}") from error

    def put_into(self, space: LabelSpace) -> LabelSpace:
        """The space with these instructions in its labels; labels without keep what they have.

        Raises:
            SpaceError: They are for a label that is not in the space.
        """
        return instructed(space, self.labels)


def instructed(space: LabelSpace, guidance: dict[str, Guidance]) -> LabelSpace:
    """The space with instructions in its labels.

    Raises:
        SpaceError: A label is not in the space.
    """
    if strange := [name for name in guidance if name not in space]:
        raise SpaceError(f"instructions for another space: {space.unknown(strange[0])}")
    labels = tuple(
        label.model_copy(update={"instructions": guidance[label.name].text()}) if label.name in guidance else label
        for label in space.labels
    )
    return LabelSpace(name=space.name, labels=labels, multi_label=space.multi_label, other=space.other)


def with_instructions(space: LabelSpace, path: str | Path) -> LabelSpace:
    """The space with the instructions of a file, where these were shown to improve labels; otherwise as it was."""
    found = Instructions.load(path)
    put = found.put_into(space)
    if found.used:
        return put
    why = "they were not tested" if found.evidence is None else say(found.evidence)
    note(f"{path}: not used: {why}. Set `used: true` in it to use them all the same.")
    return space


def say(evidence: Evidence) -> str:
    """What the test found, in a line."""
    gain = 100 * (evidence.with_instructions - evidence.without)
    return (
        f"{evidence.measure} on {evidence.texts:,} held-out texts was {evidence.with_instructions:.2%} with and "
        f"{evidence.without:.2%} without, a difference of {gain:+.2f} points "
        f"({100 * evidence.low:+.2f} to {100 * evidence.high:+.2f}, p = {evidence.p_value:.3f})"
    )
