from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from labelspace.errors import ConfigError
from labelspace.finetune.trie import LabelTrie

END, SEMI = 0, 1


def answers(trie: LabelTrie, sofar: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All that decoding can give."""
    for token in trie.allowed(sofar):
        if token == END:
            yield (*sofar, END)
        else:
            yield from answers(trie, (*sofar, token))


@pytest.mark.parametrize(
    "labels",
    [
        [[2], [3], [4]],
        [[2, 3], [2, 4], [2]],  # one begins as another does
        [[2], [2, SEMI, 3], [3]],  # one holds the separator
        [[2, 3, 4], [2, 3, 5], [2, 6]],
    ],
)
@pytest.mark.parametrize("separator", [[SEMI], [SEMI, 9]])
@pytest.mark.parametrize(("least", "most"), [(1, None), (0, None), (1, 1), (2, 2)])
def test_decoding_gives_each_list_of_distinct_labels_and_nothing_else(
    labels: list[list[int]], separator: list[int], least: int, most: int | None
) -> None:
    trie = LabelTrie(labels, separator=separator, end=END, least=least, most=most)
    sizes = range(least, (most or len(labels)) + 1)
    wanted = [order for size in sizes for order in itertools.permutations(range(len(labels)), size)]
    assert set(answers(trie)) == {tuple(trie.write(order)) for order in wanted}
    for order in wanted:
        found = trie.read(trie.write(order))
        assert found is not None and trie.write(found) == trie.write(order)


def test_what_is_allowed_follows_from_the_answer_alone() -> None:
    trie = LabelTrie([[2, 3], [2, 4], [5]], separator=[SEMI], end=END)
    assert trie.allowed([]) == [2, 5]
    assert trie.allowed([2]) == [3, 4]
    assert trie.allowed([2, 3]) == [END, SEMI]
    assert trie.allowed([2, 3, SEMI]) == [2, 5]
    assert trie.allowed([2, 3, SEMI, 2]) == [4]  # not the first again
    assert trie.allowed([5]) == [END, SEMI]  # asked about another beam in between
    assert trie.allowed([2, 3, SEMI, 2, 4, SEMI, 5]) == [END]  # no label is left
    assert trie.allowed([7]) == [END]


def test_reading() -> None:
    trie = LabelTrie([[2], [2, SEMI, 3], [3]], separator=[SEMI], end=END)
    assert trie.read([2, SEMI, 3, END]) == [1]  # one label rather than two
    assert trie.read([3, SEMI, 2, END]) == [2, 0]
    assert trie.read([3, SEMI, 2]) is None
    assert trie.read([3, SEMI, 3, END]) is None


@pytest.mark.parametrize(
    ("labels", "separator", "message"),
    [
        ([[2], []], [SEMI], "has no tokens"),
        ([[2]], [], "has no tokens"),
        ([[2], [3], [2]], [SEMI], "labels 0 and 2 have the same tokens"),
        ([[2, END]], [SEMI], "contains the token 0, which ends an answer"),
    ],
)
def test_labels_that_can_not_be_decoded(labels: list[list[int]], separator: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelTrie(labels, separator=separator, end=END)
