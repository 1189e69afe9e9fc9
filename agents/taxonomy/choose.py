"""Choose among taxonomies by votes on documents that none of them was made from.

Each held-out batch is asked several times, with the taxonomies in another order: models like what stands first, and
a rotation puts each candidate at each place about equally often.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from labelspace.agents.taxonomy.asking import Refused
from labelspace.agents.taxonomy.batches import even_batches
from labelspace.agents.taxonomy.questions import Questions
from labelspace.agents.taxonomy.settings import Step
from labelspace.agents.taxonomy.steps import Loop
from labelspace.errors import ModelError
from labelspace.progress import note


async def choose(questions: Questions, loops: Sequence[Loop], held_out: Sequence[str]) -> tuple[Loop, Step | None]:
    """The loop whose taxonomy most votes are for, and a record of the vote; ties go to the one made first.

    Args:
        questions: Asks.
        loops: Those that ran; one without a taxonomy can't win.
        held_out: Documents, or their summaries, to vote on.

    Raises:
        ModelError: There is no taxonomy at all.
    """
    able = [loop for loop in loops if not loop.failed]
    if not able:
        raise ModelError(loops[0].failed)
    if len(able) == 1:
        if len(loops) > 1:
            note(f"taxonomy: only one of {len(loops)} candidates could be made; there is nothing to choose")
        return able[0], None
    settings = questions.settings
    batches = even_batches(len(held_out), settings.vote_batch)
    orders = rotations(len(able), len(batches) * settings.votes, seed=settings.seed)
    asked = [
        (order, [held_out[place] for place in batches[turn // settings.votes]]) for turn, order in enumerate(orders)
    ]
    answers = await questions.choose([([able[at].labels for at in order], texts) for order, texts in asked])
    votes: Counter[int] = Counter()
    said: dict[int, str] = {}
    for (order, _), answer in zip(asked, answers, strict=True):
        if not isinstance(answer, Refused):
            place, why = answer
            votes[order[place]] += 1
            said.setdefault(order[place], why)
    if not votes:
        note("taxonomy: no vote could be read, so the candidate made first is taken")
        return able[0], None
    best = max(range(len(able)), key=lambda at: (votes[at], -at))
    share = votes[best] / votes.total()
    shown = ", ".join(f"{able[at].candidate + 1}: {votes[at]}" for at in range(len(able)))
    note(f"taxonomy: candidate {able[best].candidate + 1} of {len(loops)} is chosen (votes {shown})")
    names = tuple(draft.name for draft in able[best].labels)
    return able[best], Step(
        "choose", len(held_out), names, share, said[best], f"votes {shown}", candidate=able[best].candidate
    )


def rotations(count: int, times: int, *, seed: int) -> list[list[int]]:
    """Orders of `count` candidates: shuffled, then turned by one each time, and shuffled anew after a full turn."""
    rng = random.Random(f"orders {seed}")
    orders: list[list[int]] = []
    while len(orders) < times:
        order = rng.sample(range(count), count)
        orders += [order[turn:] + order[:turn] for turn in range(count)]
    return orders[:times]
