"""Decisions: each against brute force, or worked out by hand."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from labelspace.errors import ConfigError, SpaceError
from labelspace.finetune.decision import (
    above_thresholds,
    best_paths,
    consistent_sets,
    fit_temperature,
    fit_thresholds,
    frechet_mean,
    frechet_paths,
    mass_of,
    softmax,
    tree_distances,
)
from labelspace.space import Label, LabelSpace

TREE = LabelSpace(
    labels=tuple(
        Label(name=name, parent=parent)
        for name, parent in [
            ("cat", "pet"),
            ("animal", None),
            ("pet", "animal"),
            ("dog", "pet"),
            ("wolf", "animal"),
            ("plant", None),
            ("oak", "plant"),
            ("rose", "plant"),
            ("stone", None),
        ]
    )
)


def one_hot(numbers: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k)[numbers]


# -- temperature and thresholds ------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("exclusive", [True, False])
def test_temperature_is_found_again(wanted: float, exclusive: bool) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (20000, 4))
    if exclusive:
        p = softmax(logits)
        targets = one_hot((p.cumsum(axis=1) > draw.random((20000, 1))).argmax(axis=1), 4)
    else:
        targets = (draw.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    assert fit_temperature(logits * wanted, targets, exclusive=exclusive) == pytest.approx(wanted, rel=0.03)


def test_softmax_by_hand() -> None:
    assert softmax([[0.0, math.log(3) * 2]], 2.0).tolist() == [pytest.approx([0.25, 0.75])]
    assert softmax([[1e4, -1e4]]).tolist() == [[1.0, 0.0]]


def test_thresholds_are_the_best_there_are() -> None:
    draw = np.random.default_rng(1)
    p = draw.random((200, 3)).round(2)  # with ties
    gold = draw.random((200, 3)) < p**2
    found = fit_thresholds(p, gold.astype(float))

    def f1(at: int, threshold: float) -> float:
        given = p[:, at] >= threshold
        return 2 * (given & gold[:, at]).sum() / (given.sum() + gold[:, at].sum())

    for at in range(3):
        grid = np.unique(np.concatenate([p[:, at], p[:, at] + 1e-6]))
        assert f1(at, found[at]) == pytest.approx(max(f1(at, t) for t in grid))


def test_labels_above_thresholds() -> None:
    p = [[0.5, 0.2, 0.1], [0.3, 0.04, 0.0]]
    thresholds = [0.5, 0.15, 0.9]
    assert above_thresholds(p, thresholds).tolist() == [[True, True, False], [False, False, False]]
    # 0.3 under 0.5 is 0.85 in log-odds, 0.04 under 0.15 is 1.44.
    assert above_thresholds(p, thresholds, at_least_one=True)[1].tolist() == [True, False, False]
    assert above_thresholds([[0.4, 0.2]], 0.3).tolist() == [[True, False]]


# -- Fréchet mean ----------------------------------------------------------------------------------


def test_tree_distances_are_those_of_the_space() -> None:
    rows, columns = list(reversed(TREE.names)), ["rose", "cat", "animal"]
    wanted = [[TREE.distance(a, b) for b in columns] for a in rows]
    assert tree_distances(TREE, rows, columns).tolist() == wanted
    with pytest.raises(SpaceError, match="'tiger'"):
        tree_distances(TREE, ["cat"], ["tiger"])


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_frechet_mean_against_its_definition(power: float) -> None:
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.ones(5) * 0.5, 50)
    d = draw.integers(0, 6, (9, 5)).astype(float)
    wanted = [min(range(9), key=lambda y: sum(row[k] * d[y, k] ** power for k in range(5))) for row in p]
    assert frechet_mean(p, d, power=power).tolist() == wanted


def test_frechet_mean_where_all_labels_are_equally_far_is_argmax() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(6), 40)
    assert frechet_mean(p, 1 - np.eye(6)).tolist() == p.argmax(axis=1).tolist()


def test_frechet_mean_finds_a_label_that_was_never_trained() -> None:
    """Trained on cat, dog and rose, what is half cat and half dog is a pet."""
    space = LabelSpace(
        labels=tuple(
            Label(name=n, parent=p)
            for n, p in [
                ("pet", None),
                ("cat", "pet"),
                ("dog", "pet"),
                ("plant", None),
                ("rose", "plant"),
                ("oak", "plant"),
            ]
        )
    )
    classes = ["cat", "dog", "rose"]
    assert frechet_paths(space, [[0.5, 0.5, 0.0]], classes, answers="any") == [("pet",)]
    assert frechet_paths(space, [[0.9, 0.05, 0.05]], classes) == [("pet", "cat")]
    # On a line, the answer between two trained ends: a leaf without a column.
    line = np.abs(np.arange(5)[:, None] - np.array([0, 4])[None])
    assert frechet_mean([[0.5, 0.5], [0.95, 0.05], [0.3, 0.7]], line).tolist() == [2, 0, 3]


def test_frechet_paths_go_by_names_not_by_place() -> None:
    draw = np.random.default_rng(2)
    classes = ["rose", "cat", "stone", "dog", "oak", "wolf"]
    p = draw.dirichlet(np.ones(6), 20)
    order = draw.permutation(6)
    shuffled = frechet_paths(TREE, p[:, order], [classes[at] for at in order])
    assert frechet_paths(TREE, p, classes) == shuffled
    assert all(path == TREE.path(path[-1]) and path[-1] in TREE.leaves for path in shuffled)


def test_columns_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"\(1, 2\) and distances of \(3, 3\)"):
        frechet_mean([[0.5, 0.5]], np.zeros((3, 3)))


def test_frechet_mean_lowers_the_distance_on_a_real_tree(data_dir) -> None:
    """With probabilities spread over the right group, the mean is nearer to gold than argmax is."""
    tree = json.loads((data_dir / "clinc150" / "taxonomy.json").read_text())
    labels = [Label(name=domain["name"]) for domain in tree["children"]]
    labels += [
        Label(name=f"{domain['name']}/{leaf['name']}", parent=domain["name"])
        for domain in tree["children"]
        for leaf in domain["children"]
    ]
    space = LabelSpace(labels=tuple(labels))
    leaves = list(space.leaves)
    distances = tree_distances(space, leaves, leaves)
    draw = np.random.default_rng(0)
    gold = draw.integers(0, len(leaves), 400)
    logits = draw.normal(0, 1.5, (400, len(leaves))) + np.where(distances[gold] <= 2, 2.0, 0.0)
    logits[np.arange(400), gold] += 1.0
    p = softmax(logits)
    squared = [
        float((distances[gold, answer] ** 2).mean()) for answer in (p.argmax(axis=1), frechet_mean(p, distances))
    ]
    assert squared[1] < 0.9 * squared[0]


# -- trees ---------------------------------------------------------------------------------------------


def test_mass_by_hand() -> None:
    mass = mass_of(TREE, [[0.1, 0.2, 0.3, 0.4]], ["dog", "cat", "rose", "pet"])[0]
    assert dict(zip(TREE.names, mass, strict=True)) == pytest.approx(
        {"cat": 0.2, "dog": 0.1, "pet": 0.7, "animal": 0.7, "wolf": 0, "plant": 0.3, "oak": 0, "rose": 0.3, "stone": 0}
    )


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


def test_best_path_against_all_paths() -> None:
    draw = np.random.default_rng(0)
    p = draw.uniform(0.05, 0.95, (60, len(TREE)))
    place = {name: at for at, name in enumerate(TREE.names)}
    wanted = [
        max((TREE.path(leaf) for leaf in TREE.leaves), key=lambda path: sum(log_odds(row[place[n]]) for n in path))
        for row in p
    ]
    assert best_paths(TREE, p) == wanted


@pytest.mark.parametrize(
    ("mass", "path"),
    [
        ({"dog": 0.6, "cat": 0.4}, ("animal", "pet", "dog")),
        ({"dog": 0.45, "cat": 0.45, "rose": 0.1}, ("animal", "pet")),
        ({"dog": 0.3, "wolf": 0.3, "rose": 0.4}, ("animal",)),
        ({"dog": 0.34, "rose": 0.33, "stone": 0.33}, ()),
        ({"stone": 1.0}, ("stone",)),
    ],
)
def test_going_down_while_sure(mass: dict[str, float], path: tuple[str, ...]) -> None:
    p = mass_of(TREE, [list(mass.values())], list(mass))
    assert best_paths(TREE, p, stop="sure") == [path]


def test_consistent_sets_against_all_sets() -> None:
    """All 512 subsets of the nine labels, of which those closed upwards count."""
    draw = np.random.default_rng(3)
    p = draw.uniform(0.02, 0.98, (40, len(TREE)))
    thresholds = draw.uniform(0.2, 0.7, len(TREE))
    place = {name: at for at, name in enumerate(TREE.names)}
    parents = [None if TREE[name].parent is None else place[TREE[name].parent] for name in TREE.names]
    closed = [
        flags
        for flags in itertools.product([False, True], repeat=len(TREE))
        if all(not on or parent is None or flags[parent] for on, parent in zip(flags, parents, strict=True))
    ]
    found = consistent_sets(TREE, p, threshold=thresholds)
    for row, given in zip(p, found, strict=True):
        gains = [log_odds(a) - log_odds(t) for a, t in zip(row, thresholds, strict=True)]
        wanted = max(closed, key=lambda flags: sum(g for g, on in zip(gains, flags, strict=True) if on))
        assert given.tolist() == list(wanted)


def test_consistent_sets_of_a_flat_space_are_the_thresholds() -> None:
    space = LabelSpace.of("abc", multi_label=True)
    p = np.random.default_rng(0).random((30, 3))
    assert np.array_equal(consistent_sets(space, p, threshold=[0.2, 0.5, 0.8]), above_thresholds(p, [0.2, 0.5, 0.8]))
    with pytest.raises(ConfigError, match="3 labels"):
        consistent_sets(space, [[0.5, 0.5]])
