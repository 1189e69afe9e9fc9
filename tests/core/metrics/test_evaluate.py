"""`evaluate`: which rows and which measures, and what the report says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelspace import Label, LabelSpace, Prediction, Record, evaluate
from labelspace.errors import DataError, SpaceError
from labelspace.metrics import Report, macro_f1, nmi, wilson


def gold_rows(*labels):
    """Records 0, 1, 2, ... with a label, several, none known (None) or none at all (())."""
    return [Record(str(at), "text", (label,) if isinstance(label, str) else label) for at, label in enumerate(labels)]


def predicted(*labels, confidences=None):
    """Predictions 0, 1, 2, ...; None abstains and "!" fails."""
    found = []
    for at, label in enumerate(labels):
        status = "abstained" if label is None else "failed" if label == "!" else "ok"
        names = () if status != "ok" else (label,) if isinstance(label, str) else tuple(label)
        reason = {"abstained": "empty text", "failed": "unreadable reply", "ok": None}[status]
        confidence = confidences[at] if confidences and status == "ok" else None
        found.append(Prediction(str(at), names, confidence=confidence, status=status, reason=reason))
    return found


TREE = LabelSpace(
    labels=(
        Label(name="A"),
        Label(name="a1", parent="A"),
        Label(name="a2", parent="A"),
        Label(name="B"),
        Label(name="b1", parent="B"),
    )
)


def test_all_rows_and_answered_rows_are_two_figures():
    report = evaluate(predicted("a", "b", None, "!", "b"), gold_rows("a", "a", "a", "b", "b"), resamples=50)
    assert report.kind == "single"
    assert (report.rows.scored, report.rows.answered, report.rows.abstained, report.rows.failed) == (5, 3, 1, 1)
    assert report.rows.reasons == {"empty text": 1, "unreadable reply": 1}
    assert report.value("coverage") == pytest.approx(3 / 5)
    assert report.value("accuracy") == pytest.approx(2 / 5)
    assert report.value("accuracy", over="answered") == pytest.approx(2 / 3)
    assert report.value("macro_f1") == pytest.approx(macro_f1(list("aaabb"), ["a", "b", None, None, "b"]))
    assert report.value("macro_f1", over="answered") == pytest.approx(macro_f1(list("aab"), list("abb")))
    accuracy = report.measures["accuracy"].all_rows
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(2, 5))


def test_what_is_on_one_side_only_is_counted_and_named():
    rows = [*gold_rows("a", "b", None, "a"), Record("only gold", "", ("a",))]
    report = evaluate([*predicted("a", "a", "a"), Prediction("only predicted", ("a",))], rows, resamples=0)
    assert (report.rows.gold, report.rows.predictions, report.rows.scored) == (5, 4, 2)
    assert (report.rows.missing, report.rows.missing_ids) == (2, ("3", "only gold"))
    assert (report.rows.extra, report.rows.extra_ids) == (1, ("only predicted",))
    assert report.rows.unlabelled == 1
    assert report.value("accuracy") == 0.5
    strict = evaluate(predicted("a", "a", "a"), rows, missing_as_wrong=True, resamples=0)
    assert strict.rows.scored == 4
    assert strict.value("accuracy") == 0.25
    text = report.text()
    assert "! gold rows without a prediction, left out: 2 (3, only gold)" in text
    assert "! predictions without a gold row, left out: 1 (only predicted)" in text
    assert "! gold rows without a gold label, left out: 1" in text


@pytest.mark.parametrize(
    ("predictions", "gold", "message"),
    [
        ([], gold_rows("a"), "there are no predictions"),
        (predicted("a"), [], "there are no gold rows"),
        (predicted("a"), gold_rows(None), "none of the 1 gold rows has a label; name the column .* --label-column"),
        (predicted("a"), [Record("x", "", ("a",))], "no id is on both sides: predictions have 0; gold rows have x"),
        (predicted("a") * 2, gold_rows("a"), "the id '0' occurs twice in the predictions"),
        (predicted("a"), gold_rows("a") * 2, "the id '0' occurs twice in the gold rows"),
        (predicted("a"), gold_rows(None, "a"), "none of the 1 ids on both sides has a gold label"),
    ],
)
def test_what_can_not_be_scored_is_refused(predictions, gold, message):
    with pytest.raises(DataError, match=message):
        evaluate(predictions, gold)


def test_all_abstained():
    report = evaluate(predicted(None, None), gold_rows("a", "b"), resamples=20)
    assert report.value("coverage") == report.value("accuracy") == report.value("macro_f1") == 0
    assert report.measures["accuracy"].answered is None
    assert math.isnan(report.value("accuracy", over="answered"))
    assert report.calibration is None
    assert "0.0%" in report.text()


def test_a_bootstrap_interval_holds_its_value_and_depends_on_the_seed_only():
    random = np.random.default_rng(0)
    gold = random.choice(list("abcd"), size=400)
    answers = np.where(random.random(400) < 0.8, gold, "a")
    runs = [evaluate(predicted(*answers), gold_rows(*gold), seed=seed, resamples=300) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    one, other = (run.measures["macro_f1"].all_rows for run in (runs[0], runs[2]))
    assert one.value == other.value
    assert one.low != other.low
    assert one.low < one.value < one.high
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.02, rel=0.4)
    assert evaluate(predicted(*answers), gold_rows(*gold), resamples=0).measures["macro_f1"].all_rows.low is None


# -- which kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "gold", "space", "kind"),
    [
        (["a", "b"], ["a", "b"], None, "single"),
        (["a", "b"], ["a", ("a", "b")], None, "multi"),
        (["a", "b"], ["a", "b"], LabelSpace.of("ab", multi_label=True), "multi"),
        (["x", "y"], ["a", "b"], None, "discovered"),
        (["b", "a"], ["a", "b"], None, "single"),
        # Wrong, but of the same space: not another vocabulary.
        (["c", "c"], ["a", "b"], LabelSpace.of("abc"), "single"),
        # The space is of the discovered labels.
        (["x", "y"], ["a", "b"], LabelSpace.of("xy"), "discovered"),
        ([None, None], ["a", "b"], None, "single"),
    ],
)
def test_the_kind_is_found(answers, gold, space, kind):
    report = evaluate(predicted(*answers), gold_rows(*gold), space=space, resamples=0)
    assert report.kind == kind
    assert evaluate(predicted(*answers), gold_rows(*gold), mode="single", resamples=0).kind == "single"


def test_multi_label_rows():
    answers = [("a",), ("a", "b"), (), None, ("c",)]
    gold = [("a",), ("b",), (), (), ("c", "a")]
    report = evaluate(predicted(*answers), gold_rows(*gold), resamples=20)
    # Right: the first, and the third, which says that nothing applies; not the fourth, which says nothing.
    assert report.value("subset_accuracy") == pytest.approx(2 / 5)
    assert report.value("subset_accuracy", over="answered") == pytest.approx(2 / 4)
    assert report.value("example_f1") == pytest.approx((1 + 2 / 3 + 1 + 0 + 2 / 3) / 5)
    assert report.value("micro_f1") == pytest.approx(2 * 3 / (4 + 4))
    assert report.value("hamming_loss") == pytest.approx(2 / (5 * 3))
    wide = evaluate(predicted(*answers), gold_rows(*gold), space=LabelSpace.of("abcdef", multi_label=True), resamples=0)
    assert wide.value("hamming_loss") == pytest.approx(2 / (5 * 6))
    assert [label.name for label in wide.per_label] == ["a", "b", "c"]


def test_one_label_a_row_where_some_have_none():
    report = evaluate(predicted("a", (), None, "a"), gold_rows("a", (), (), ()), mode="single", resamples=0)
    assert report.value("accuracy") == 0.5
    assert any("'(none)'" in remark for remark in report.remarks)
    # Where gold never says that nothing applies, an empty answer is no answer.
    report = evaluate(predicted("a", ()), gold_rows("a", "b"), resamples=0)
    assert (report.rows.answered, report.rows.abstained) == (1, 1)


def test_several_labels_where_one_is_scored_are_remarked_on():
    report = evaluate(predicted(("a", "b"), "b"), gold_rows("a", "b"), resamples=0)
    assert report.value("accuracy") == 1
    assert report.remarks[0].startswith("predictions with several labels, of which the first is scored")


def test_a_tree_adds_hierarchical_measures():
    report = evaluate(predicted("a1", "a2", None), gold_rows("a1", "a1", "b1"), space=TREE, resamples=50)
    assert report.value("hierarchical_precision") == pytest.approx(3 / 4)
    assert report.value("hierarchical_recall") == pytest.approx(3 / 6)
    assert report.value("tree_distance") == pytest.approx((0 + 2 + 2) / 3)
    assert report.value("accuracy_level_0") == pytest.approx(2 / 3)
    assert report.value("accuracy_level_1", over="answered") == pytest.approx(1 / 2)
    assert "tree distance" in report.text()
    flat = evaluate(predicted("a"), gold_rows("a"), space=LabelSpace.of("ab"), resamples=0)
    assert "hierarchical_f1" not in flat.measures


def test_scoring_at_a_level_of_the_tree():
    report = evaluate(predicted("a1", "a2"), gold_rows("a2", "b1"), space=TREE, at_level=0, resamples=0)
    assert report.value("accuracy") == 0.5
    assert [label.name for label in report.per_label] == ["A", "B"]
    with pytest.raises(SpaceError, match="in which labels have parents"):
        evaluate(predicted("a"), gold_rows("a"), at_level=0)


def test_labels_that_the_space_lacks():
    with pytest.raises(SpaceError, match="gold rows: the label 'z' is not in the space"):
        evaluate(predicted("a"), gold_rows("z"), space=LabelSpace.of("ab"), mode="single")
    report = evaluate(predicted("a", "z"), gold_rows("a", "a"), space=LabelSpace.of("ab"), resamples=0)
    assert report.value("accuracy") == 0.5
    assert report.remarks[0] == "predicted labels that the space 'labels' lacks: 1 ('z')"


@pytest.mark.parametrize(
    ("space", "other", "answers"),
    [
        (LabelSpace(labels=(Label(name="a"), Label(name="b")), other="rest"), None, ["a", "rest"]),
        (None, "rest", ["a", "rest"]),
        (None, None, ["a", "Other"]),
    ],
)
def test_the_bucket_for_what_fits_nowhere_is_no_answer(space, other, answers):
    report = evaluate(predicted(*answers), gold_rows("a", "b"), space=space, other=other, resamples=0)
    assert (report.rows.answered, report.rows.other, report.rows.abstained) == (1, 1, 0)
    assert report.value("accuracy", over="answered") == 1


def test_a_bucket_that_gold_uses_is_a_label():
    report = evaluate(predicted("a", "other"), gold_rows("a", "other"), other="other", resamples=0)
    assert report.rows.other == 0
    assert report.value("accuracy") == 1


# -- discovered --------------------------------------------------------------------------------------


def test_discovered_labels():
    gold = ["a"] * 30 + ["b"] * 30 + ["c"] * 30
    answers = ["x"] * 28 + ["y"] * 32 + ["z"] * 20 + ["w"] * 5 + ["other"] * 5
    report = evaluate(predicted(*answers), gold_rows(*gold), resamples=200)
    assert report.kind == "discovered"
    assert report.value("coverage") == pytest.approx(85 / 90)
    assert report.value("purity") == pytest.approx((28 + 30 + 20 + 5) / 90)
    assert report.value("nmi") == pytest.approx(nmi(gold, [name if name != "other" else None for name in answers]))
    assert report.value("nmi", over="answered") == pytest.approx(nmi(gold[:85], answers[:85]))
    assert report.value("one_to_one_f1") < report.value("many_to_one_f1")
    for key in ("nmi", "ari", "purity", "many_to_one_f1", "one_to_one_f1"):
        found = report.measures[key].all_rows
        assert found.low <= found.value <= found.high, key
    assert [(one.predicted, one.gold, one.rows, one.shared, one.partner) for one in report.matches] == [
        ("y", "b", 32, 30, "b"),
        ("x", "a", 28, 28, "a"),
        ("z", "c", 20, 20, "c"),
        ("w", "c", 5, 5, None),
    ]
    assert report.per_label == ()
    assert "paired one to one with" in report.text()


# -- confidence ----------------------------------------------------------------------------------------


def test_calibration_and_abstaining():
    answers, stated = ["a", "a", "b", "b"], [0.9, 0.8, 0.7, 0.6]
    report = evaluate(predicted(*answers, confidences=stated), gold_rows("a", "a", "b", "a"), resamples=50)
    assert report.calibration.rows == 4
    assert report.calibration.accuracy == 0.75
    assert report.calibration.brier == pytest.approx((0.01 + 0.04 + 0.09 + 0.36) / 4)
    assert report.calibration.log_loss is None
    reached = {target.precision: target.reached for target in report.selection.targets}
    assert (reached[0.95].threshold, reached[0.95].coverage) == (0.7, 0.75)
    assert report.selection.points[0].coverage == 1


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([{"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.75}], -(math.log(0.5) + math.log(0.75)) / 2),
        ([{"a": 1.0}, {"a": 1.0}], -(0 + math.log(1e-6)) / 2),
        ([{"a": 0.5}, {"b": 0.5}], -math.log(0.5)),
        ([{"a": 0.5}, {"a": 0.5}], None),
        ([{"a": 0.9, "b": 0.9}, {"a": 0.5, "b": 0.5}], None),
        ([{}, {"b": 1.0}], None),
    ],
    ids=["full", "gold got nothing", "sparse with gold", "sparse without gold", "no distribution", "no scores"],
)
def test_log_loss_where_the_scores_tell_it(scores, expected):
    found = [Prediction(str(at), ("a",), scores=one, confidence=0.5) for at, one in enumerate(scores)]
    report = evaluate(found, gold_rows("a", "b"), resamples=0)
    assert report.calibration.log_loss == (None if expected is None else pytest.approx(expected))


# -- the report ------------------------------------------------------------------------------------------


def test_a_report_survives_json(tmp_path):
    report = evaluate(
        predicted("a1", "a2", None, confidences=[0.9, 0.4, None]), gold_rows("a1", "a1", "b1"), space=TREE, resamples=9
    )
    report.save(tmp_path / "new" / "report.json")
    assert Report.load(tmp_path / "new" / "report.json") == report
    with pytest.raises(KeyError, match="no measure 'f1' here; there are: coverage, accuracy"):
        report.value("f1")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_text_keeps_to_its_width(width):
    long = ["a label whose name goes on and on " * 3 + str(at) for at in range(30)]
    wide = ["配送状況の確認と変更" * 6, *long, "with\nline break \x1b[31m"]
    answers = [*wide[1:], wide[0]]
    report = evaluate(
        predicted(*answers, confidences=np.linspace(0.1, 1, len(wide)).tolist()), gold_rows(*wide), resamples=9
    )
    text = report.text(width=width)
    for line in text.splitlines():
        assert len(line) <= width, line
    assert "\x1b" not in text
    assert "(12 more in the JSON report)" in text
    assert str(report) == report.text(width=100)


def test_large_numbers_are_quick():
    """A hundred thousand rows and a thousand resamples take seconds, not hours."""
    random = np.random.default_rng(0)
    gold = random.integers(150, size=100_000)
    answers = np.where(random.random(100_000) < 0.9, gold, random.integers(150, size=100_000))
    report = evaluate(
        (Prediction(str(at), (f"l{label}",)) for at, label in enumerate(answers.tolist())),
        (Record(str(at), "", (f"l{label}",)) for at, label in enumerate(gold.tolist())),
    )
    found = report.measures["macro_f1"].all_rows
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.09 / 100_000), rel=0.2)


label = st.sampled_from(["a1", "a2", "b1", "other", "x"])
outcome = st.one_of(st.none(), st.just("!"), label, st.lists(label, max_size=3, unique=True).map(tuple))
truth = st.one_of(st.none(), label, st.lists(label, max_size=3, unique=True).map(tuple))


@given(
    st.lists(st.tuples(outcome, truth, st.one_of(st.none(), st.floats(0, 1))), min_size=1, max_size=12),
    st.sampled_from(["auto", "single", "multi", "discovered"]),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_anything_that_can_be_joined_gives_a_report(rows, mode, with_space):
    answers, gold, stated = zip(*rows, strict=True)
    space = LabelSpace(labels=(*TREE.labels, Label(name="x")), other="other") if with_space else None
    predictions, records = predicted(*answers, confidences=stated), gold_rows(*gold)
    if all(names is None for names in gold):
        with pytest.raises(DataError, match="has a label"):
            evaluate(predictions, records, space=space, mode=mode)
        return
    report = evaluate(predictions, records, space=space, mode=mode, resamples=5)
    for key, measure in report.measures.items():
        for estimate in (measure.all_rows, measure.answered):
            if estimate is None or estimate.value is None or measure.unit == "number":
                continue
            assert -1e-9 <= estimate.value <= 1 + 1e-9, key
    assert report.rows.answered + report.rows.abstained + report.rows.failed + report.rows.other == report.rows.scored
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert all(len(line) <= 100 for line in report.text().splitlines())


def test_discovered_labels_against_a_gold_tree():
    gold, given = gold_rows("a1", "a2", "b1", "b1"), predicted("x", "x", "y", None)
    report = evaluate(given, gold, space=TREE, mode="discovered", resamples=20)
    assert report.value("tree_distance") == pytest.approx((1 + 1 + 0 + 2) / 4)
    flat = evaluate(given, gold, space=LabelSpace.of(["x", "y"]), mode="discovered", resamples=20)
    assert "tree_distance" not in flat.measures
