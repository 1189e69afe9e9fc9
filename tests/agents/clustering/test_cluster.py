from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from labelspace.agents.clustering.cluster import cluster_space, discover_clusters
from labelspace.agents.clustering.graph import communities, modularity, nearest, shared_neighbours
from labelspace.agents.clustering.partition import cluster
from labelspace.embed.tfidf import TfidfEmbedder
from labelspace.errors import DataError


def blobs(*, clusters, each, noise=0.25, width=24, seed=0, tops=None):
    """Unit rows around random directions, and their gold: [n, width], cluster, top."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, width))
    top = np.arange(clusters) % (tops or clusters)
    if tops:
        centres = rng.normal(size=(tops, width))[top] * 1.3 + centres
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    gold = np.repeat(np.arange(clusters), each)
    rows = centres[gold] + rng.normal(size=(len(gold), width)) * noise
    order = rng.permutation(len(gold))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows[order], gold[order], top[gold[order]]


@pytest.mark.parametrize(("clusters", "each"), [(5, 100), (12, 40), (40, 25)])
def test_the_number_of_clusters_follows_from_the_data(clusters, each):
    rows, gold, _ = blobs(clusters=clusters, each=each, noise=0.12)
    found = cluster(rows)
    assert clusters * 0.75 <= found.count <= clusters * 1.4
    assert normalized_mutual_info_score(gold, found.leaf) > 0.93


def test_two_levels_find_groups_of_clusters():
    rows, gold, top = blobs(clusters=24, each=20, noise=0.1, tops=4, width=48)
    found = cluster(rows, levels=2)
    assert normalized_mutual_info_score(gold, found.leaf) > 0.9
    assert normalized_mutual_info_score(top, found.top) > 0.8
    assert (cluster(rows).group == -1).all()


@pytest.mark.parametrize("most", [2, 7, 1000])
def test_the_number_can_be_capped(most):
    rows, _, _ = blobs(clusters=12, each=20)
    found = cluster(rows, max_labels=most)
    assert found.count <= most
    assert sorted(set(found.leaf.tolist())) == list(range(found.count))
    sizes = np.bincount(found.leaf)
    assert (np.diff(sizes) <= 0).all()


def test_the_same_seed_gives_the_same_clusters():
    rows, _, _ = blobs(clusters=6, each=20, noise=0.4)
    first, second = cluster(rows, levels=2, seed=5), cluster(rows, levels=2, seed=5)
    np.testing.assert_array_equal(first.leaf, second.leaf)
    np.testing.assert_array_equal(first.group, second.group)


def test_rows_of_zeros_belong_nowhere_and_copies_stay_together():
    rows, _, _ = blobs(clusters=4, each=50)
    rows = np.concatenate([rows, np.zeros((3, rows.shape[1]), np.float32), np.repeat(rows[:1], 60, axis=0)])
    found = cluster(rows)
    assert (found.leaf[200:203] == -1).all()
    assert (found.leaf[203:] == found.leaf[0]).all()


def test_more_texts_than_are_clustered_join_the_nearest(monkeypatch):
    monkeypatch.setattr("labelspace.agents.clustering.partition._AT_MOST", 300)
    rows, gold, _ = blobs(clusters=6, each=200, noise=0.12)
    found = cluster(rows)
    assert normalized_mutual_info_score(gold, found.leaf) > 0.93


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9, 30])
def test_few_rows_are_no_trouble(count):
    rows, _, _ = blobs(clusters=max(count // 5, 1), each=5)
    found = cluster(rows[:count], levels=2)
    assert len(found.leaf) == min(count, len(rows))
    assert found.count >= min(count, 1)


def test_neighbours_and_their_overlap_are_as_by_hand():
    rows = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    near = nearest(rows, 2)
    assert near.tolist() == [[1, 2], [2, 0], [1, 3], [2, 1]]
    # Rows with themselves: {0,1,2}, {1,2,0}, {2,1,3}, {3,2,1}.
    expected = [[0, 1, 0.5, 0], [1, 0, 0.5, 0.5], [0.5, 0.5, 0, 1], [0, 0.5, 1, 0]]
    np.testing.assert_allclose(shared_neighbours(near).toarray(), expected)


def test_communities_of_two_cliques_have_the_modularity_of_the_textbook():
    from scipy.sparse import csr_matrix

    graph = np.kron(np.eye(2), np.ones((4, 4))) - np.eye(8)
    graph[3, 4] = graph[4, 3] = 1
    sparse = csr_matrix(graph)
    found = communities(sparse, [1.0], np.random.default_rng(0))[0]
    assert found[:4].tolist() == [found[0]] * 4
    assert found[4:].tolist() == [1 - found[0]] * 4
    assert modularity(sparse, found) == pytest.approx(24 / 26 - 2 * 0.5**2)


SHORT = {
    "three": ["my card is lost", "I lost my card", "where is the parcel"],
    "copies": ["the same text"] * 40,
    "one": ["hello there"],
    "signs": ["!!!", "???", "…"],
    "japanese": [f"{text}{end}" for text in ("カードを紛失しました", "荷物が届きません") for end in "。！？、ー・〜…"],
    "nothing to say": ["how are you", "how is it", "what is this", "who are you"] * 3,
}


@pytest.mark.parametrize("texts", SHORT.values(), ids=SHORT.keys())
@pytest.mark.parametrize("levels", [1, 2])
def test_odd_texts_still_make_a_space(texts, levels):
    space = cluster_space(texts, levels=levels)
    assert len(space.leaves) >= 1
    assert all(label.name and label.description for label in space.labels)


def test_names_are_words_of_the_texts_and_blank_texts_are_passed_over():
    topics = ["card not working", "reset my PIN", "cancel the subscription", "track a parcel"]
    wraps = [
        "{}",
        "hello, {} please",
        "my {} again",
        "I want help: {}",
        "{} today",
        "what about {}?",
        "{} since Monday",
    ]
    texts = [wrap.format(topic) + tail for topic in topics for wrap in wraps for tail in ("", " now", " thanks")]
    found = discover_clusters([*texts, "", " "])
    assert {"Card not working", "Reset PIN", "Cancel subscription", "Track parcel"} <= set(found.space.leaves)
    assert len(found.space.leaves) <= 6
    assert found.labels[-2:] == (None, None)
    assert found.labels[0] == "Card not working"
    for label in found.space.labels:
        assert len(label.examples) == 3
        assert len(set(label.examples)) == 3


def test_nothing_to_read_is_told():
    with pytest.raises(DataError, match="all are empty"):
        cluster_space(["", " \n"])


@pytest.mark.data
def test_it_beats_k_means_that_knows_the_number(data_dir):
    with gzip.open(data_dir / "clinc150" / "dev.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    texts, intents, domains = ([row[key] for row in rows] for key in ("text", "label", "domain"))
    vectors = TfidfEmbedder().fit(texts).embed(texts)
    found = cluster(vectors, levels=2)
    for gold, ours in ((intents, found.leaf), (domains, found.top)):
        theirs = KMeans(len(set(gold)), n_init=3, random_state=0).fit_predict(vectors)
        assert normalized_mutual_info_score(gold, ours) > normalized_mutual_info_score(gold, theirs)
        assert adjusted_rand_score(gold, ours) > adjusted_rand_score(gold, theirs)
