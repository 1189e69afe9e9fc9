"""What an evaluation says, as data: JSON for programs, and a plain text for people."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["single", "multi", "discovered"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Part):
    """A value with its confidence interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Measure(_Part):
    """One measure, over all rows and over those that were answered."""

    title: str
    all_rows: Estimate | None = None
    """A row without an answer is wrong here; None where the measure needs answers."""
    answered: Estimate | None = None
    """None where no row was answered."""
    unit: Literal["share", "number"] = "share"
    """Shares are in [0, 1] and shown as percentages."""


class Rows(_Part):
    """Where the rows went."""

    gold: int
    """Gold rows that were read."""
    predictions: int
    unlabelled: int = 0
    """Gold rows that have no gold label and can't be scored."""
    missing: int = 0
    """Gold rows that have labels, but no prediction."""
    missing_ids: tuple[str, ...] = ()
    """The first of them."""
    missing_count_as_wrong: bool = False
    extra: int = 0
    """Predictions for ids that the gold rows don't have."""
    extra_ids: tuple[str, ...] = ()
    scored: int
    """Rows that the measures are over."""
    answered: int
    abstained: int = 0
    other: int = 0
    """Put into the bucket for what fits nowhere; not answered."""
    failed: int = 0
    reasons: dict[str, int] = {}
    """Why rows were abstained from or failed, most frequent first."""


class LabelScore(_Part):
    """How one label fared."""

    name: str
    precision: float | None
    """None where the label was never given."""
    recall: float | None
    """None where no row has the label."""
    f1: float | None
    """None where the label is in neither."""
    support: int
    """Rows that have it."""
    predicted: int
    """Rows that were given it."""


class Confusion(_Part):
    """One label taken for another."""

    gold: str
    predicted: str
    count: int
    share: float | None
    """Of the rows that have the gold label."""


class Bin(_Part):
    """Rows of similar confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence."""
    accuracy: float
    """Share that was right."""


class Calibration(_Part):
    """Whether confidences are what they claim to be: probabilities of being right."""

    rows: int
    """Answered rows with a confidence."""
    mean_confidence: float
    accuracy: float
    ece: Estimate
    """Expected calibration error over bins of equal width."""
    ece_equal_mass: float
    """The same over bins with equally many rows."""
    brier: float
    """Mean squared difference between confidence and being right."""
    log_loss: float | None = None
    """Mean negative logarithm of the gold label's score; None where the scores don't tell it."""
    bins: tuple[Bin, ...]
    """Of equal width, without empty ones."""


class OperatingPoint(_Part):
    """What is kept, and how good it is, if answers below a confidence are set aside."""

    threshold: float
    rows: int
    coverage: float
    """Share of all rows that is kept."""
    accuracy: Estimate
    """Of what is kept; the interval is Clopper-Pearson."""


class Target(_Part):
    """The lowest threshold at which a wanted precision is reached."""

    precision: float
    reached: OperatingPoint | None
    """None where no threshold reaches it."""


class Selection(_Part):
    """What abstaining below a confidence brings."""

    aurc: float
    """Area under the risk-coverage curve: mean error rate of the most confident rows; lower is better."""
    points: tuple[OperatingPoint, ...]
    targets: tuple[Target, ...]


class Match(_Part):
    """A discovered label and the gold label that most of its rows have."""

    predicted: str
    gold: str
    rows: int
    """Rows with the discovered label."""
    shared: int
    """Those of them that have the gold label."""
    partner: str | None
    """The gold label it is paired with where each may be used once; None if it got none."""


class McNemar(_Part):
    """McNemar's exact test on the rows where two systems differ."""

    only_first: int
    """Rows that only the first got right."""
    only_second: int
    p_value: float
    """Two-sided: how often equally good systems would differ as much."""


class Difference(_Part):
    """How much better a first system is than a second, with a paired bootstrap interval."""

    first: float
    second: float
    value: float
    """First minus second."""
    low: float
    high: float
    p_value: float
    """Two-sided: twice the share of resamples in which the difference is not on its side of 0."""


class Comparison(_Part):
    """Two systems on the same rows; a row that one did not answer is wrong for it."""

    rows: int
    """Gold rows that both have predictions for."""
    differences: dict[str, Difference]
    """By measure: `accuracy`, `macro_f1`, `micro_f1`."""
    mcnemar: McNemar
    level: float
    resamples: int
    seed: int


class Report(_Part):
    """An evaluation of predictions against gold labels."""

    kind: Kind
    why: str
    """Why it was scored as this kind."""
    labels: int
    """Gold labels that occur."""
    rows: Rows
    measures: dict[str, Measure]
    """By key, such as `accuracy`, `macro_f1`, `nmi`."""
    per_label: tuple[LabelScore, ...] = ()
    """Over all rows."""
    confusions: tuple[Confusion, ...] = ()
    """Over all rows, most frequent first."""
    calibration: Calibration | None = None
    selection: Selection | None = None
    matches: tuple[Match, ...] = ()
    against: Comparison | None = None
    """The same rows by another system, where one was given."""
    remarks: tuple[str, ...] = ()
    """What a reader should know before quoting a figure."""
    level: float
    """Of the intervals."""
    resamples: int
    seed: int

    def value(self, measure: str, *, over: Literal["all", "answered"] = "all") -> float:
        """One figure by its key; NaN where it is not defined.

        Raises:
            KeyError: There is no such measure in this report.
        """
        if measure not in self.measures:
            raise KeyError(f"no measure {measure!r} here; there are: {', '.join(self.measures)}")
        found = self.measures[measure]
        estimate = found.all_rows if over == "all" else found.answered
        return float("nan") if estimate is None or estimate.value is None else estimate.value

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read back what `save` wrote."""
        return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))

    def text(self, *, width: int = 100, show: int = 20) -> str:
        """Lay the report out for a terminal.

        Args:
            width: Columns to stay within.
            show: Rows to show of each long table.
        """
        from labelspace.metrics.render import render

        return render(self, width=width, show=show)

    def __str__(self) -> str:
        return self.text()
