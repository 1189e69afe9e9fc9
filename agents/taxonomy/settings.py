"""How a taxonomy is made, and what is remembered of each step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelspace.errors import ConfigError

DEFAULT_MAX_LABELS = 25


@dataclass(frozen=True, kw_only=True)
class TaxonomySettings:
    """How to make a taxonomy. The defaults are the paper's, where it has any."""

    use_case: str = ""
    """What the taxonomy is for, in a sentence."""
    max_labels: int = DEFAULT_MAX_LABELS
    levels: Literal[1, 2] = 1
    """Two: the labels are put into groups at the end."""
    candidates: int = 1
    """Taxonomies that are made from differently shuffled documents; one is chosen on batches that none has seen."""
    batch_size: int = 200
    max_documents: int = 2000
    """So many documents are drawn where there are more (the paper took 10,000)."""
    embedder: str = "tfidf"
    """What documents are compared by where a diverse sample is drawn."""
    cache: Path | None = None
    """Folder that keeps the vectors of an embedder that learns nothing from the texts."""
    summarize: Literal["long", "always", "never"] = "long"
    """Which documents are summarised."""
    long_words: int = 60
    """A document with more words is long."""
    summary_words: int = 20
    own_words: bool = False
    """Whether summaries may not quote: where replies are kept or handed on, and documents must not be."""
    read_characters: int = 12_000
    """Of a longer document that is summarised, the middle is left out."""
    shown_characters: int = 1_000
    """Of a long document that is not summarised, so much stands in for it."""
    name_words: int = 5
    description_words: int = 40
    language: str = "English"
    """The language of names and descriptions."""
    retries: int = 5
    """Times that the model is asked again after a reply that breaks a guardrail."""
    generate_temperature: float = 0.5
    update_temperature: float = 0.2
    temperature_step: float = 0.1
    top_p: float = 0.5
    max_tokens: int | None = None
    patience: int = 3
    """Batches in a row that leave all labels as they are, after which no more are read; 0 reads all."""
    votes: int = 3
    """Times that each held-out batch is asked which candidate is best, each in another order."""
    held_out: float = 0.2
    """Share of the documents that no candidate sees, from which the votes come."""
    vote_batch: int = 50
    """Documents that a vote is given on."""
    other: str = "Other"
    """The bucket that is offered, at assignment only, for what fits nowhere."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that can't work."""
        sizes = ("max_labels", "candidates", "batch_size", "max_documents", "summary_words", "name_words")
        for name in (*sizes, "description_words", "votes", "vote_batch", "read_characters", "shown_characters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.patience < 0:
            raise ConfigError(f"patience must be at least 0 (read all), not {self.patience}")
        if self.levels not in (1, 2):
            raise ConfigError(f"levels must be 1 or 2, not {self.levels}")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out is a share between 0 and 1, not {self.held_out}")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the loop, for a person who wants to know how the taxonomy came about."""

    what: Literal["generate", "update", "review", "group", "choose"]
    documents: int
    labels: tuple[str, ...]
    """Names after the step."""
    score: float | None = None
    """What the model gave the taxonomy before the step, 0 to 100; the share of the votes where one was chosen."""
    explanation: str = ""
    suggestions: str = ""
    failed: str = ""
    """Why the step was skipped."""
    candidate: int = 0
    """Which of several taxonomies it was about."""
