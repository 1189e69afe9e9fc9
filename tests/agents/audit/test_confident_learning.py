"""Our confident learning against cleanlab 2.9 on the same inputs: flags equal, scores to 1e-6."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from labelspace.agents.audit import confident, filters, multilabel, scores, tokens
from labelspace.errors import ConfigError, DataError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cleanlab = pytest.importorskip("cleanlab", reason="the reference, in the test extra")
    from cleanlab import count as ref_count
    from cleanlab import filter as ref_filter
    from cleanlab import rank as ref_rank
    from cleanlab.multilabel_classification import filter as ref_multi_filter
    from cleanlab.multilabel_classification import rank as ref_multi_rank
    from cleanlab.token_classification import filter as ref_token_filter
    from cleanlab.token_classification import rank as ref_token_rank

pytestmark = pytest.mark.filterwarnings("ignore")


@st.composite
def problems(draw: Any, most: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores, often with ties, missing classes, certain rows, or sums that are a little off."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k, n = draw(st.integers(2, 6)), draw(st.integers(2, most))
    p = generator.dirichlet(np.full(k, draw(st.sampled_from([0.02, 0.2, 1.0, 4.0]))), n)
    steps = draw(st.sampled_from([0, 0, 1, 4, 10]))
    if steps:  # a coarse grid has many ties
        p = np.round(p * steps) + 1e-9
        p /= p.sum(axis=1, keepdims=True)
    if draw(st.booleans()):
        y = np.array([generator.choice(k, p=row / row.sum()) for row in p])
    else:
        y = generator.integers(0, k, n)
    if draw(st.integers(0, 3)) == 0:
        y = np.minimum(y, k - 2)  # the last class has no record
    if draw(st.integers(0, 3)) == 0:
        p = np.minimum(p * 1.00002, 1.0)
    if draw(st.integers(0, 3)) == 0:
        p = p.astype(np.float32)
    return y, p


OPTIONS = [
    ({}, {}),
    ({"keep_per_class": 0}, {"min_examples_per_class": 0}),
    ({"keep_per_class": 3}, {"min_examples_per_class": 3}),
    ({"share": 0.4}, {"frac_noise": 0.4}),
    ({"share": 0.0}, {"frac_noise": 0.0}),
    ({"share": 0.7, "keep_per_class": 2}, {"frac_noise": 0.7, "min_examples_per_class": 2}),
]


@given(problems(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_joint_equals_reference(problem: tuple[np.ndarray, np.ndarray], calibrated: bool) -> None:
    y, p = problem
    ours = confident.confident_joint(y, p, calibrated=calibrated)
    assert np.array_equal(ours, ref_count.compute_confident_joint(y, p, calibrate=calibrated))
    assert not calibrated or ours.sum() == len(y)


@pytest.mark.parametrize("filter_by", filters.FILTERS)
@given(problem=problems(), options=st.sampled_from(OPTIONS))
@settings(max_examples=60, deadline=None)
def test_flags_equal_reference(problem: Any, filter_by: filters.Filter, options: Any) -> None:
    y, p = problem
    ours, theirs = options
    assume(len(set(y)) > 1)  # the reference refuses some inputs of one class
    expected = ref_filter.find_label_issues(y, p, filter_by=filter_by, n_jobs=1, **theirs)
    assert np.array_equal(filters.flag_labels(y, p, filter_by=filter_by, **ours), expected)


@given(problems(), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_number_per_class_equals_reference(problem: Any, number: int) -> None:
    y, p = problem
    assume(len(set(y)) > 1)
    wanted = np.full(p.shape[1], number)
    expected = ref_filter.find_label_issues(y, p, filter_by="prune_by_class", n_jobs=1, num_to_remove_per_class=wanted)
    assert np.array_equal(filters.flag_labels(y, p, filter_by="prune_by_class", remove_per_class=wanted), expected)


@pytest.mark.parametrize(
    ("score", "adjusted"), [(score, adjusted) for score in scores.SCORES[:2] for adjusted in (False, True)]
    + [("confidence_weighted_entropy", False)],
)  # fmt: skip
@given(problem=problems())
@settings(max_examples=80, deadline=None)
def test_scores_equal_reference(problem: Any, score: scores.Score, adjusted: bool) -> None:
    y, p = problem
    ours = scores.label_quality(y, p, score=score, adjusted=adjusted)
    theirs = ref_rank.get_label_quality_scores(y, p, method=score, adjust_pred_probs=adjusted)
    assert np.allclose(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("filter_by", filters.FILTERS)
def test_one_class_alone_is_no_error(filter_by: filters.Filter) -> None:
    assert (
        filters.flag_labels([0, 0, 0], np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]), filter_by=filter_by).sum() == 0
    )


def test_certain_row_scores_its_limit_where_asked() -> None:
    certain = np.array([[1.0, 0.0], [0.5, 0.5]])
    pinned = scores.label_quality([0, 0], certain, score="confidence_weighted_entropy")
    right = scores.label_quality([0, 0], certain, score="confidence_weighted_entropy", as_reference=False)
    assert pinned[0] == 0.0  # what the reference says of a surely right label
    assert right[0] == 1.0
    assert pinned[1] == right[1] == pytest.approx(np.log(3) / 2)


@st.composite
def multilabel_problems(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, k = draw(st.integers(4, 60)), draw(st.integers(2, 5))
    p = generator.beta(0.7, 1.5, (n, k))
    if draw(st.booleans()):
        p = np.round(p * 10) / 10
    has = (generator.random((n, k)) < p) ^ (generator.random((n, k)) < draw(st.sampled_from([0.0, 0.2])))
    has[0], has[1] = True, False  # the reference fails where a class has all or none
    return has, p


@given(multilabel_problems(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_multilabel_joint_equals_reference(problem: Any, calibrated: bool) -> None:
    has, p = problem
    lists = [np.flatnonzero(row).tolist() for row in has]
    expected = ref_count.compute_confident_joint(lists, p, multi_label=True, calibrate=calibrated)
    assert np.array_equal(multilabel.one_vs_rest_joint(has, p, calibrated=calibrated), expected)
    assert np.array_equal(multilabel.as_matrix(lists, p.shape[1]), has)


@pytest.mark.parametrize("filter_by", filters.FILTERS)
@given(problem=multilabel_problems())
@settings(max_examples=30, deadline=None)
def test_multilabel_flags_equal_reference(problem: Any, filter_by: filters.Filter) -> None:
    has, p = problem
    lists = [np.flatnonzero(row).tolist() for row in has]
    by_class = ref_multi_filter.find_multilabel_issues_per_class(lists, p, filter_by=filter_by, n_jobs=1)
    assert np.array_equal(multilabel.flag_classes(has, p, filter_by=filter_by), np.array(by_class).reshape(has.shape))
    by_record = ref_multi_filter.find_label_issues(lists, p, filter_by=filter_by, n_jobs=1)
    assert np.array_equal(multilabel.flag_multilabel(has, p, filter_by=filter_by), by_record)


@pytest.mark.parametrize("score", scores.SCORES)
@pytest.mark.parametrize(
    ("pooling", "theirs"),
    [
        ("moving_average", {"method": "exponential_moving_average", "alpha": 0.8}),
        ("softmin", {"method": "softmin", "temperature": 0.1}),
    ],
)
@given(problem=multilabel_problems(), adjusted=st.booleans())
@settings(max_examples=20, deadline=None)
def test_multilabel_scores_equal_reference(
    problem: Any, score: scores.Score, pooling: multilabel.Pooling, theirs: Any, adjusted: bool
) -> None:
    has, p = problem
    adjusted = adjusted and score != "confidence_weighted_entropy"
    lists = [np.flatnonzero(row).tolist() for row in has]
    ours = multilabel.class_quality(has, p, score=score, adjusted=adjusted)
    settings_ = {"method": score, "adjust_pred_probs": adjusted}
    expected = ref_multi_rank.get_label_quality_scores_per_class(lists, p, **settings_)
    assert np.allclose(ours, np.array(expected).reshape(has.shape), atol=1e-6, rtol=0)
    pooled = ref_multi_rank.get_label_quality_scores(lists, p, aggregator_kwargs=theirs, **settings_)
    assert np.allclose(multilabel.pool_quality(ours, pooling=pooling), pooled, atol=1e-6, rtol=0)


@pytest.mark.parametrize("score", scores.SCORES)
@given(problem=problems(), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
@example(problem=(np.array([0, 1, 1]), np.array([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]])), cuts=[1])
def test_tokens_equal_reference(problem: Any, cuts: list[int], score: scores.Score) -> None:
    y, p = problem
    at = [cut for cut in np.cumsum(cuts) if cut < len(y)]
    tags, rows = [part.tolist() for part in np.split(y, at)], np.split(p, at)
    assume(len(set(y)) > 1)
    expected = ref_token_filter.find_label_issues(tags, rows, return_indices_ranked_by=score, n_jobs=1)
    assert set(tokens.flag_tokens(tags, rows, score=score)) == set(expected)
    for pooling in ("min", "softmin"):
        ours, by_token = tokens.token_quality(tags, rows, score=score, pooling=pooling)
        theirs, their_tokens = ref_token_rank.get_label_quality_scores(
            tags, rows, token_score_method=score, sentence_score_method=pooling
        )
        assert np.allclose(ours, theirs, atol=1e-6, rtol=0)
        assert np.allclose(np.concatenate(by_token), np.concatenate(their_tokens), atol=1e-6, rtol=0)


def test_memory_mapped_scores_in_small_chunks_give_the_same(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(7), 900)
    y = np.where(generator.random(900) < 0.8, p.argmax(axis=1), generator.integers(0, 7, 900))
    expected = {name: filters.flag_labels(y, p, filter_by=name) for name in filters.FILTERS}
    quality = {name: scores.label_quality(y, p, score=name) for name in scores.SCORES}
    assert sum(flags.sum() for flags in expected.values()) > 100
    np.save(tmp_path / "p.npy", p)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    monkeypatch.setattr(confident, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(filters, "BLOCK_BYTES", 1000)
    for name, flags in expected.items():
        assert np.array_equal(filters.flag_labels(y, mapped, filter_by=name), flags)
    for name, values in quality.items():
        assert np.array_equal(scores.label_quality(y, mapped, score=name), values)


@pytest.mark.data
def test_reviewed_imdb_labels_are_flagged(data_dir: Path) -> None:
    with gzip.open(data_dir / "imdb_label_errors" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    y = np.array([row["label"] == "positive" for row in rows]).astype(int)
    p = np.array([row["pred_probs"] for row in rows])  # rows sum to 1.00002
    reviewed = np.array([row["reviewed"] for row in rows])
    for name in filters.FILTERS:
        flags = filters.flag_labels(y, p, filter_by=name)
        # The reference takes no probability over 1, so it gets rows that sum to 1.
        expected = ref_filter.find_label_issues(y, p / p.sum(axis=1, keepdims=True), filter_by=name, n_jobs=1)
        assert np.array_equal(flags, expected)
        assert (flags & reviewed).sum() == reviewed.sum() == 1310


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], np.array([[0.5, 0.5]]), "2 labels and 1 rows"),
        ([0, 2], np.full((2, 2), 0.5), "labels run from 0 to 2"),
        ([0, -1], np.full((2, 2), 0.5), "labels run from -1 to 0"),
        ([0, 1], np.array([[0.5, 0.5], [np.nan, 1.0]]), "record 1 .* not probabilities"),
        ([0, 1], np.array([[3.0, -2.0], [0.5, 0.5]]), "record 0 .* softmax"),
        ([0.0, 1.0], np.full((2, 2), 0.5), "class numbers"),
        ([], np.empty((0, 2)), "no records"),
        ([0, 1], np.array([0.5, 0.5]), "rows by classes"),
    ],
)
def test_bad_input_is_named(labels: Any, probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        filters.flag_labels(labels, probabilities)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filter_by": "all"}, "no filter named 'all'; there are: prune_by_class"),
        ({"share": 2.0}, "must lie in"),
        ({"filter_by": "both", "remove_per_class": [1, 1]}, "use prune_by_class"),
    ],
)
def test_bad_options_are_named(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filters.flag_labels([0, 1], np.full((2, 2), 0.5), **options)
