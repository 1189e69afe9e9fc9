"""A prompt: what a template says of itself, and its messages, ready to be filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Template, TemplateError

from labelspace.errors import PromptError
from labelspace.prompts.environment import plain, write
from labelspace.prompts.fence import fence

if TYPE_CHECKING:
    from labelspace.llm.request import Message
from pydantic import BaseModel, ConfigDict

_STAND_IN = "\x00 a document \x00"


class FrontMatter(BaseModel):
    """What a template says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    """Raised by the author when a change is meant to change results."""
    purpose: str
    variables: dict[str, str]
    """Name to one line about it."""
    returns: str
    example: dict[str, Any] = {}
    """Values that show the prompt, for `labelspace prompts render NAME --example`."""


@dataclass(frozen=True)
class Part:
    """One message of a template."""

    role: str
    template: Template
    variables: frozenset[str]
    document: str | None = None
    """The document, if it is written in one place only, through `fence` and under no condition."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A template that is known to be well formed."""

    head: FrontMatter
    source: str
    """The whole file."""
    path: Path
    hash: str
    """Twelve hex digits over the messages' source and the version: equal where the same is asked."""
    known: frozenset[str]
    """Variables that may be given: its own, and those of the template of ours that it replaces."""
    _parts: tuple[Part, ...]
    _given: Mapping[str, Any] = field(default_factory=dict)
    _done: Mapping[int, str] = field(default_factory=dict)
    _around: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """What stands before and behind the document in messages that lack nothing else."""
    _lacks: str | None = None
    """The document, where nothing else is lacking and every message is ready but for it."""

    @property
    def name(self) -> str:
        """The name of the template, which is also that of its file."""
        return self.head.name

    @property
    def version(self) -> int:
        """The version in the front matter."""
        return self.head.version

    @property
    def provenance(self) -> dict[str, Any]:
        """What a prediction's `source` says of the prompt that it came from."""
        return {"prompt": self.name, "prompt_version": self.version, "prompt_hash": self.hash}

    def bind(self, **variables: Any) -> Prompt:
        """Fill in some variables now; messages that need no other are rendered once and for all.

        A table of 150 labels is the same for every document: binding it saves most of the work.
        """
        given = {**self._given, **self._checked(variables)}
        ready = {
            place: self._fill(part, given) for place, part in enumerate(self._parts) if part.variables <= given.keys()
        }
        around = {
            place: self._fill(part, {**given, part.document: _STAND_IN}).split(write(fence(_STAND_IN)))
            for place, part in enumerate(self._parts)
            if part.document is not None and part.variables - given.keys() == {part.document}
        }
        split = {place: (ends[0], ends[1]) for place, ends in around.items() if len(ends) == 2}
        lacking = {name for name in self.head.variables if name not in given}
        lacking |= {str(part.document) for place, part in enumerate(self._parts) if place in split}
        whole = len(ready) + len(split) == len(self._parts) and len(lacking) == 1
        return replace(self, _given=given, _done=ready, _around=split, _lacks=min(lacking) if whole else None)

    def render(self, **variables: Any) -> list[Message]:
        """Fill in the variables.

        Returns:
            The messages of a chat, each with "role" and "content".

        Raises:
            PromptError: A variable is missing, unknown or not plain data, or the template fails on it.
        """
        text = variables.get(self._lacks) if self._lacks is not None and len(variables) == 1 else None
        if isinstance(text, str):
            # As the templates write it, without running them: a labeling run renders millions.
            fenced = fence(text)
            return [
                {"role": part.role, "content": self._done[place]}
                if place in self._done
                else {"role": part.role, "content": fenced.join(self._around[place])}
                for place, part in enumerate(self._parts)
            ]
        given = {**self._given, **self._checked(variables)}
        missing = [name for name in self.head.variables if name not in given]
        if missing:
            what = "; ".join(f"{name} ({self.head.variables[name]})" for name in missing)
            raise PromptError(f"prompt {self.name!r} needs a value for: {what}")
        return [
            {"role": part.role, "content": self._content(place, part, given, part.variables & variables.keys())}
            for place, part in enumerate(self._parts)
        ]

    def _content(self, place: int, part: Part, given: Mapping[str, Any], now: frozenset[str]) -> str:
        """One message; `now` are those of its variables that were not bound before."""
        if place in self._done and not now:
            return self._done[place]
        if place in self._around and now == {part.document} and isinstance(text := given[str(part.document)], str):
            return fence(text).join(self._around[place])
        return self._fill(part, given)

    def _checked(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        unknown = [name for name in variables if name not in self.known]
        if unknown:
            raise PromptError(
                f"prompt {self.name!r} has no variable {unknown[0]!r}; it has: {', '.join(sorted(self.known))}"
            )
        return {name: plain(value, name) for name, value in variables.items()}

    def _fill(self, part: Part, given: Mapping[str, Any]) -> str:
        try:
            return part.template.render({name: given[name] for name in part.variables})
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise PromptError(f"{self.path}: the {part.role} message can't be rendered: {error}") from error
