"""Discovery without a language model: cluster embeddings, and name what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from labelspace.agents.clustering.graph import Labels
from labelspace.agents.clustering.naming import Named, name_clusters
from labelspace.agents.clustering.partition import Clusters, cluster
from labelspace.embed import Embedder, Vectors, cache_folder, fit_embedder, load_embedder
from labelspace.errors import DataError
from labelspace.space import Label, LabelSpace


class Namer(Protocol):
    """Names clusters, as `name_clusters` does."""

    def __call__(
        self, texts: Sequence[str], vectors: Vectors, labels: Labels, *, taken: Sequence[str] = ()
    ) -> list[Named]:
        """A unique name for each cluster; `labels` counts them from 0, -1 for texts to pass over."""
        ...


_LISTED = 6
"""Labels that the description of a group names."""


@dataclass(frozen=True)
class Discovery:
    """A label space, and which text led to which label."""

    space: LabelSpace
    labels: tuple[str | None, ...]
    """The leaf that each text was put into; None for a text that could not be read."""


def cluster_space(
    texts: Sequence[str],
    *,
    embedder: str | Embedder = "tfidf",
    max_labels: int | None = None,
    levels: int = 1,
    seed: int = 0,
) -> LabelSpace:
    """Make a label space by clustering; see `discover_clusters`."""
    return discover_clusters(texts, embedder=embedder, max_labels=max_labels, levels=levels, seed=seed).space


def discover_clusters(
    texts: Sequence[str],
    *,
    embedder: str | Embedder = "tfidf",
    max_labels: int | None = None,
    levels: int = 1,
    seed: int = 0,
    cache: Path | None = None,
    namer: Namer = name_clusters,
) -> Discovery:
    """Cluster texts and name the clusters; how many there are follows from the texts.

    Args:
        texts: What to sort; blank ones are passed over.
        embedder: What texts are compared by, or its specification.
        max_labels: The most leaves.
        levels: 2 for labels in groups.
        seed: Seed of everything random.
        cache: Folder that keeps embeddings; the user's cache folder if None.
        namer: Names the clusters: from their words, or `labelspace.agents.taxonomy.naming.ModelNamer`.

    Raises:
        DataError: All texts are blank.
    """
    if not any(text.strip() for text in texts):
        raise DataError("there is no text to make labels of: all are empty", advice="check the text column")
    if isinstance(embedder, str):
        embedder = load_embedder(embedder, cache=cache or cache_folder())
    vectors = fit_embedder(embedder, texts).embed(texts)
    clusters = cluster(vectors, levels=levels, max_labels=max_labels, seed=seed)
    leaves = namer(texts, vectors, clusters.leaf)
    groups = _name_groups(texts, vectors, clusters, [leaf.name for leaf in leaves], namer)
    labels: list[Label] = []
    for number, group in enumerate(groups):
        within = np.flatnonzero(clusters.group == number)
        labels.append(Label(name=group, description=_describe_group([leaves[leaf].name for leaf in within])))
        labels += [_label(leaves[leaf], group) for leaf in within]
    labels += [_label(leaves[leaf], None) for leaf in np.flatnonzero(clusters.group < 0)]
    return Discovery(
        LabelSpace(name="discovered", labels=tuple(labels)),
        tuple(None if number < 0 else leaves[number].name for number in clusters.leaf),
    )


def _label(named: Named, parent: str | None) -> Label:
    return Label(name=named.name, description=named.description, parent=parent, examples=named.examples)


def _name_groups(
    texts: Sequence[str], vectors: Vectors, clusters: Clusters, taken: list[str], namer: Namer
) -> list[str]:
    if not (clusters.group >= 0).any():
        return []
    group: Labels = np.where(clusters.leaf < 0, -1, clusters.group[clusters.leaf])
    return [named.name for named in namer(texts, vectors, group, taken=taken)]


def _describe_group(names: list[str]) -> str:
    shown = names[:_LISTED]
    if len(names) > _LISTED:
        return f"Includes {', '.join(shown)} and {len(names) - _LISTED} more."
    return f"Includes {', '.join(shown[:-1])} and {shown[-1]}."
