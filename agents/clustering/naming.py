"""Names, descriptions and examples for clusters of texts, from what distinguishes each.

Phrases of the texts are weighed as in c-TF-IDF (Grootendorst 2022): by how common they are in
the cluster, against how common they are in all. A name is the best phrase of up to four words,
after words that carry no topic ("please", "my", "is") are dropped: "my card is not working" and
"the card not working" both count for "card not working".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labelspace.agents.clustering.graph import Labels
from labelspace.agents.clustering.stopwords import DROPPED, INNER_ONLY

_CJK = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])+(?:['’-](?:(?![{_CJK}])[^\W_])+)*|[.!?;:,\n()\"。、！？]")
"""A word, or a sign that ends a phrase. Chinese and Japanese are read character by character."""
_UNSPACED = re.compile(rf"[{_CJK}]")
_HIRAGANA = re.compile(r"[\u3040-\u309f]")
_READ = 300
"""Texts of one cluster that are read, the most central: enough for frequencies."""
_WORDS_READ = 120
"""Words of one text that are read: what it is about stands where it begins."""
_LONGEST = 4
_LENGTH_BONUS = (0.0, 1.0, 1.7, 1.8, 1.6)
"""By number of words: two or three say more to a reader than one."""
_SPECIFIC = 0.4
"""Factor for phrases with a number: "flight dl 123" is an instance, not a topic."""
_THIN = 0.3
"""A single word that fewer of the texts have gets a second one beside it."""
_EXAMPLE_LENGTH = 160


@dataclass(frozen=True)
class Named:
    """What a reader is told about a cluster."""

    name: str
    description: str
    examples: tuple[str, ...]
    terms: tuple[str, ...] = ()
    """Phrases that distinguish it, most telling first."""


@dataclass(frozen=True)
class _Phrase:
    words: tuple[str, ...]
    rate: float
    """Share of the cluster's texts that have it."""
    score: float


def name_clusters(
    texts: Sequence[str], vectors: npt.NDArray[np.float32], labels: Labels, *, taken: Sequence[str] = ()
) -> list[Named]:
    """Name clusters in the words of their texts; names are unique.

    Args:
        texts: What was clustered.
        vectors: Their embeddings [n, d].
        labels: Cluster of each text, counted from 0; -1 for texts to pass over.
        taken: Names that may not be given.
    """
    from labelspace.agents.clustering.partition import centroids

    count = int(labels.max()) + 1
    inside = np.flatnonzero(labels >= 0)
    means = centroids(vectors[inside], labels[inside])
    near = np.full(len(texts), -1.0)
    near[inside] = np.einsum("nd,nd->n", vectors[inside], means[labels[inside]])
    members = []
    for number in range(count):
        own = np.flatnonzero(labels == number)
        members.append(own[np.argsort(-near[own], kind="stable")])
    sentences = [[_sentences(texts[i]) for i in own[:_READ]] for own in members]
    surfaces = _surfaces(sentences)
    phrases = _phrases(sentences)
    examples = [_examples(texts, vectors, own) for own in members]
    names = _choose(phrases, surfaces, [shorten(central[0], 40) for central in examples], taken)
    named = []
    for number, shown in enumerate(examples):
        terms = [_spell(phrase.words, surfaces) for phrase in _terms(phrases[number])]
        named.append(Named(names[number], _describe(terms, shown), tuple(shown), tuple(terms)))
    return named


def shorten(text: str, limit: int = _EXAMPLE_LENGTH) -> str:
    """One line of at most `limit` characters, cut between words."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    head = line[: limit - 1]
    cut = head.rfind(" ")
    return (head[:cut] if cut > limit // 2 else head).rstrip(" ,;:.") + "…"


def _sentences(text: str) -> list[list[str]]:
    """Words of a text as written, in runs that no punctuation breaks."""
    runs: list[list[str]] = [[]]
    for match in _WORD.finditer(text[: _WORDS_READ * 12]):
        token = match.group()
        if token[0].isalnum():
            runs[-1].append(token.replace("’", "'"))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _fold(word: str) -> str:
    folded = word.lower()
    return "not" if folded.endswith("n't") or folded in ("cannot", "cant", "wont", "doesnt", "dont", "isnt") else folded


def _surfaces(sentences: list[list[list[list[str]]]]) -> dict[str, str]:
    """Words that are nearly always written with capitals inside a sentence, such as "PIN" and "France"."""
    seen: dict[str, Counter[str]] = {}
    for cluster in sentences:
        for text in cluster:
            for run in text:
                for word in run[1:]:
                    seen.setdefault(_fold(word), Counter())[word] += 1
    best = {folded: forms.most_common(1)[0] for folded, forms in seen.items()}
    return {
        folded: form
        for folded, (form, times) in best.items()
        if folded not in (form, "not") and times >= 0.9 * sum(seen[folded].values())
    }


def _phrases(sentences: list[list[list[list[str]]]]) -> list[list[_Phrase]]:
    """Phrases of each cluster, the most telling first."""
    everywhere = _common_words(sentences)
    counts: list[Counter[tuple[str, ...]]] = []
    for cluster in sentences:
        counter: Counter[tuple[str, ...]] = Counter()
        for text in cluster:
            found: set[tuple[str, ...]] = set()
            for run in text:
                kept = [_fold(word) for word in run]
                found.update(_within([word for word in kept if word not in DROPPED and word not in everywhere]))
            counter.update(found)
        counts.append(counter)
    total: Counter[tuple[str, ...]] = Counter()
    for counter, cluster in zip(counts, sentences, strict=True):
        for phrase, times in counter.items():
            total[phrase] += times / len(cluster)  # type: ignore[assignment]
    ranked = []
    for counter, cluster in zip(counts, sentences, strict=True):
        size = len(cluster)
        least = 2 if size >= 6 else 1
        here = []
        for words, times in counter.items():
            if times >= least and not all(word.isdigit() for word in words):
                rate = times / size
                share = rate / total[words]
                here.append(_Phrase(words, rate, share * rate**0.75 * _readable(words)))
        ranked.append(sorted(here, key=lambda phrase: (-phrase.score, phrase.words)))
    return ranked


def _within(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Phrases of up to four words, or eight characters where words are not separated."""
    for start, first in enumerate(words):
        if first in INNER_ONLY:
            continue
        length = 0.0
        for end in range(start, len(words)):
            length += 0.5 if _UNSPACED.match(words[end]) else 1.0
            if length > _LONGEST:
                break
            if words[end] not in INNER_ONLY:
                yield tuple(words[start : end + 1])


def _readable(words: tuple[str, ...]) -> float:
    """How well a phrase reads as a name, whatever it says."""
    length = sum(0.5 if _UNSPACED.match(word) else 1.0 for word in words)
    if length < 1 or (len(words) == 1 and len(words[0]) < 3 and length == 1) or all(map(_HIRAGANA.match, words)):
        return 0.01
    if length == len(words) > len(set(words)):
        return 0.01  # "very very"
    specific = any(word[0].isdigit() and not word[-1].isalpha() for word in words)
    return _LENGTH_BONUS[min(round(length), _LONGEST)] * (_SPECIFIC if specific else 1.0)


def _common_words(sentences: list[list[list[list[str]]]]) -> set[str]:
    """Words that most clusters share, whatever the language: they tell nothing."""
    if len(sentences) < 8:
        return set()
    clusters: Counter[str] = Counter()
    for cluster in sentences:
        seen: Counter[str] = Counter()
        for text in cluster:
            seen.update({_fold(word) for run in text for word in run})
        clusters.update(word for word, times in seen.items() if times >= 0.1 * len(cluster))
    return {
        word
        for word, times in clusters.items()
        if times > 0.5 * len(sentences) and word != "not" and not _UNSPACED.match(word)
    }


def _choose(
    phrases: list[list[_Phrase]], surfaces: dict[str, str], central: list[str], taken: Sequence[str]
) -> list[str]:
    """A name for each cluster; those that are surest of theirs choose first.

    One whose words are all of no topic is named by its most central text.
    """
    names = [""] * len(phrases)
    used = {name.lower() for name in taken}
    order = sorted(range(len(phrases)), key=lambda n: -(phrases[n][0].score if phrases[n] else 0.0))
    for number in order:
        options = [_title(_spell(phrase.words, surfaces)) for phrase in phrases[number][:50]] or [
            _title(central[number])
        ]
        if phrases[number] and len(phrases[number][0].words) == 1 and phrases[number][0].rate < _THIN:
            pair = [_spell(phrase.words, surfaces) for phrase in _terms(phrases[number], 2)]
            options.insert(0, _title(", ".join(pair)))
        options += [f"{options[0]} {count}" for count in range(2, len(phrases) + len(used) + 3)]
        names[number] = next(name for name in options if name.lower() not in used)
        used.add(names[number].lower())
    return names


def _terms(phrases: list[_Phrase], count: int = 5) -> list[_Phrase]:
    """The most telling phrases that do not repeat each other's words."""
    chosen: list[_Phrase] = []
    for phrase in phrases[:200]:
        words = {word[:5] for word in phrase.words}
        if len(phrase.words) <= 2 and not any(words & {word[:5] for word in other.words} for other in chosen):
            chosen.append(phrase)
        if len(chosen) == count:
            break
    return chosen


def _spell(words: tuple[str, ...], surfaces: dict[str, str]) -> str:
    text = ""
    for word in words:
        gap = "" if not text or (_UNSPACED.match(word) and _UNSPACED.match(text[-1])) else " "
        text += gap + surfaces.get(word, word)
    return text


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _examples(texts: Sequence[str], vectors: npt.NDArray[np.float32], own: Labels) -> list[str]:
    """Three texts: central ones that differ from each other."""
    seen: dict[str, int] = {}
    for i in own[:100]:
        seen.setdefault(shorten(texts[i]).lower(), int(i))
    pool = list(seen.values())[:30]
    rows = vectors[pool]
    mean = rows.mean(axis=0)
    centrality, likeness = rows @ mean, rows @ rows.T
    chosen = [0]
    while len(chosen) < min(3, len(pool)):
        value = centrality - 0.5 * likeness[:, chosen].max(axis=1)
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
    return [shorten(texts[pool[i]]) for i in chosen]


def _describe(terms: list[str], examples: list[str]) -> str:
    if not terms:
        return f"Texts such as “{examples[0]}”."
    listed = terms[0] if len(terms) == 1 else f"{', '.join(terms[:-1])} and {terms[-1]}"
    return f"Texts about {listed}, such as “{shorten(examples[0], 100)}”."
