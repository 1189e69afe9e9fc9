"""What a conversation needs now: the queries to find tools by, and the tools that are already in use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from labelspace.agents.tools.choose import ToolChooser
from labelspace.agents.tools.retriever import Retriever, by_turns

FOLLOW_UP = 6
"""A message of fewer words is likely to mean nothing without the one before it: "And in Rome?"."""
BACK = 3
"""Messages of the user, before such a one, that are read with it."""
LONGEST = 2_000
"""Characters of a message that are read; encoders read fewer."""

_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")


class Turn(Protocol):
    """A message, as LangChain has it."""

    @property
    def type(self) -> str:
        """`human`, `ai`, `tool` or `system`."""
        ...

    @property
    def content(self) -> Any:
        """A text, or a list of parts."""
        ...


def text_of(message: Any) -> str:
    """The text of a message, whose content may be a list of parts."""
    content = message.content
    if isinstance(content, str):
        return content.strip()
    parts = (part if isinstance(part, str) else part.get("text", "") for part in content or ())
    return "\n".join(part for part in parts if part).strip()


def current_needs(messages: Sequence[Any]) -> list[str]:
    """The queries that tell what is needed now, the weightiest first.

    That is what the user said last. If it is too short to stand alone, then also with what the user said before, back
    to what does; and with the question that it answers, if the model ended on one: "Shall I send it to Ann?". And what
    the model has said since, where it announces its next step. What the tools returned is not read: it is long, and
    says what was needed, not what is.
    """
    asked = [place for place, message in enumerate(messages) if message.type == "human" and text_of(message)]
    if not asked:
        return []
    last = text_of(messages[asked[-1]])
    found = [last]
    if len(asked) > 1 and len(last.split()) < FOLLOW_UP:
        together = [last]
        for place in reversed(asked[-1 - BACK : -1]):
            together.insert(0, text_of(messages[place]))
            if len(together[0].split()) >= FOLLOW_UP:
                break
        found.insert(0, "\n".join(together))
        found += question_in(messages[asked[-2] : asked[-1]])
    said = [text_of(message) for message in messages[asked[-1] + 1 :] if message.type == "ai"]
    if said and said[-1]:
        found.append(said[-1])
    return [query[-LONGEST:] for query in found]


def question_in(messages: Sequence[Any]) -> list[str]:
    """The question that the model ended on, if it did; [] if not."""
    said = [text_of(message) for message in messages if message.type == "ai" and text_of(message)]
    if not said or not said[-1].endswith(("?", "？")):
        return []
    return [_SENTENCE.split(said[-1])[-1]]


def tools_in_use(messages: Sequence[Any]) -> list[str]:
    """Names of the tools that were called since the user last said something, latest first."""
    found: dict[str, None] = {}
    for message in reversed(messages):
        if message.type == "human":
            break
        for call in getattr(message, "tool_calls", None) or ():
            found[call["name"]] = None
    return list(found)


def choose_tools(
    finder: Retriever | ToolChooser, messages: Sequence[Any], *, k: int = 5, available: Iterable[str] | None = None
) -> list[str]:
    """Names of the tools that a conversation needs now, best first.

    Args:
        finder: A retriever, of which k tools are taken; or a chooser, which takes as many as are needed.
        messages: The conversation.
        k: At most so many for each query of a retriever; the queries take turns, so that the whole is k.
        available: Names that can be had; None for all.
    """
    queries = current_needs(messages)
    if not queries:
        return []
    offered = None if available is None else set(available)
    if isinstance(finder, ToolChooser):
        chosen = [list(names) for names in finder.choose(queries, available=offered)]
        return by_turns(chosen, sum(map(len, chosen)))
    wanted = k if offered is None else len(finder.tools)
    ranked = [[name for name, _ in ranking] for ranking in finder.search(queries, wanted)]
    if offered is not None:
        ranked = [[name for name in names if name in offered] for names in ranked]
    return by_turns(ranked, k)
