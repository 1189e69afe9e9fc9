"""Which tokens may come next, where the answer is a list of labels: constrained decoding for text-to-text models.

Nothing is remembered between calls: what is allowed follows from the tokens that one answer has so far. So
beams may be reordered and batches cut as one likes, where the reference code of PTEC keeps one state a
batch row, and loses its way under beam search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from labelspace.errors import ConfigError


@dataclass(slots=True)
class _Node:
    below: dict[int, _Node] = field(default_factory=dict)
    label: int | None = None
    """Number of the label that ends here."""


@dataclass(frozen=True)
class _Reading:
    """One way to read an answer so far: the labels that are complete, and where in the trie it stands."""

    done: tuple[int, ...]
    at: _Node | None
    """None after the end of the answer."""
    rest: int = 0
    """Tokens of the separator that are read."""


class LabelTrie:
    """Answers of the form `label, separator, label, ..., end`, in which no label comes twice.

    A label may contain the separator, or begin as another does: every way to read an answer is followed.
    """

    def __init__(
        self,
        labels: Sequence[Sequence[int]],
        *,
        separator: Sequence[int],
        end: int,
        least: int = 1,
        most: int | None = None,
    ) -> None:
        """Build the trie.

        Args:
            labels: Tokens of each label.
            separator: Tokens between two labels.
            end: Token that ends an answer.
            least: An answer has at least so many labels; 0 lets it be empty.
            most: At most so many; None for as many as there are.

        Raises:
            ConfigError: A label or the separator has no tokens, two labels have the same, or one holds `end`.
        """
        if not separator or any(not tokens for tokens in labels):
            raise ConfigError("a label or the separator has no tokens; the tokenizer may drop its characters")
        if end in separator or any(end in tokens for tokens in labels):
            raise ConfigError(f"a label or the separator contains the token {end}, which ends an answer")
        self.separator, self.end = list(separator), end
        self.least, self.most = least, len(labels) if most is None else min(most, len(labels))
        self.root = _Node()
        for number, tokens in enumerate(labels):
            node = self.root
            for token in tokens:
                node = node.below.setdefault(token, _Node())
            if node.label is not None:
                raise ConfigError(f"labels {node.label} and {number} have the same tokens, so they can't be told apart")
            node.label = number
        self._tokens = [list(tokens) for tokens in labels]

    def allowed(self, answer: Sequence[int]) -> list[int]:
        """Tokens that may follow, sorted; only the end after a complete answer, or one that can't be read."""
        found: set[int] = set()
        for reading in self._readings(answer):
            found |= self._next(reading)
        return sorted(found) or [self.end]

    def read(self, answer: Sequence[int]) -> list[int] | None:
        """Numbers of the labels that a complete answer names, or None for one that is not complete.

        Where several readings are possible, it is that of the fewest labels.
        """
        complete = [reading.done for reading in self._readings(answer) if reading.at is None]
        if not complete:
            return None
        shortest = min(complete, key=len)
        return list(shortest)

    def write(self, labels: Sequence[int]) -> list[int]:
        """Tokens of the answer that names these labels, in their order."""
        answer: list[int] = []
        for position, number in enumerate(labels):
            answer += [*(self.separator if position else ()), *self._tokens[number]]
        return [*answer, self.end]

    def _next(self, reading: _Reading) -> set[int]:
        node = reading.at
        if node is None:
            return set()
        if reading.rest:
            return {self.separator[reading.rest]}
        done, found = reading.done, set()
        if node is self.root and not done and self.least == 0:
            found.add(self.end)
        if node.label is not None and node.label not in done:
            if len(done) + 1 >= self.least:
                found.add(self.end)
            if len(done) + 1 < self.most:
                found.add(self.separator[0])
        return found | {token for token, below in node.below.items() if self._leads_on(below, done)}

    def _leads_on(self, node: _Node, done: tuple[int, ...]) -> bool:
        """Whether a label that is not given yet ends at a node or below."""
        if node.label is not None and node.label not in done:
            return True
        return any(self._leads_on(below, done) for below in node.below.values())

    def _readings(self, answer: Sequence[int]) -> list[_Reading]:
        readings = [_Reading((), self.root)]
        for token in answer:
            readings = [after for reading in readings for after in self._after(reading, token)]
        return readings

    def _after(self, reading: _Reading, token: int) -> list[_Reading]:
        node, done = reading.at, reading.done
        if node is None or token not in self._next(reading):
            return []
        if reading.rest:
            rest = reading.rest + 1
            return [_Reading(done, self.root) if rest == len(self.separator) else _Reading(done, node, rest)]
        after: list[_Reading] = []
        if token in node.below and self._leads_on(node.below[token], done):
            after.append(_Reading(done, node.below[token]))
        if token == self.end:
            after.append(_Reading(done if node.label is None else (*done, node.label), None))
        elif token == self.separator[0] and node.label is not None and node.label not in done:
            more = (*done, node.label)
            if len(more) < self.most:
                after.append(_Reading(more, self.root) if len(self.separator) == 1 else _Reading(more, node, 1))
        return after
