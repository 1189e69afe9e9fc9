"""What `labelspace tools train` fine-tunes, each in a folder within that of the retriever."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TRIPLETS = "triplets"
"""Folder of the encoder that embeds."""
SEVERAL = 0.05
"""Share of held-out usages that must need several tools for them to weigh the parts of queries by."""


class Tuned:
    """Trains what is asked for, on the same usages and with the same seed."""

    def __init__(self, tools: Any, usages: Sequence[Any], folder: Path, *, seed: int) -> None:
        """Take tools and usages; nothing is loaded yet."""
        self.tools, self.usages, self.folder, self.seed = tools, usages, folder, seed

    def scorer(self, base: str) -> Any:
        """An encoder that scores tools."""
        from labelspace.agents.tools.tuned import tuned_mlc

        return tuned_mlc(base, self.tools, self._taught(), self._place("tuned", base), seed=self.seed)

    def encoder(self, base: str) -> Any:
        """An encoder of queries, tuned with hard triplets."""
        from labelspace.agents.tools.tuned import tuned_triplets

        return tuned_triplets(base, self._taught(), self._place(TRIPLETS, base), seed=self.seed)

    def refiner(self, base: str, embedder: Any) -> Any:
        """What ranks the candidates; it learns from those of linear layers that did not see the query."""
        from labelspace.agents.tools.store_stages import REFINER
        from labelspace.agents.tools.tool2vec import Tool2Vec
        from labelspace.agents.tools.tuned import tuned_refiner, unseen_scores

        usages, folder = self._taught(), self._place(REFINER, f"{base} {embedder.name}")
        first = unseen_scores(self.tools, usages, usages, embedder)
        tool2vec = Tool2Vec.of(self.tools, usages, embedder)
        return tuned_refiner(base, usages, first, tool2vec, folder, seed=self.seed)

    def _place(self, name: str, base: str) -> Path:
        """The folder for what is fine-tuned, with a note of what it is made of.

        Raises:
            ConfigError: It holds what was made of something else, which would be taken for this.
        """
        from labelspace.errors import ConfigError

        folder = self.folder / name
        made = hashlib.sha256(repr((base, self.seed, self.tools.tools, list(self.usages))).encode()).hexdigest()[:16]
        note = folder / "made_of.txt"
        if not note.exists():
            folder.mkdir(parents=True, exist_ok=True)
            note.write_text(made + "\n", encoding="utf-8")
        elif note.read_text(encoding="utf-8").strip() != made:
            raise ConfigError(
                f"{folder}: was fine-tuned on other tools or usages, from another encoder or with another seed; "
                "name another --out, or remove that folder"
            )
        return folder

    def _taught(self) -> Sequence[Any]:
        from labelspace.errors import DataError

        if not self.usages:
            raise DataError("there is no usage to fine-tune an encoder on")
        return self.usages


def with_several(usages: Sequence[Any], *, seed: int) -> list[Any]:
    """Held-out usages, some joined with another where hardly any needs several tools: weights of parts need some."""
    from labelspace.agents.tools.compose import compose
    from labelspace.progress import note

    if sum(len(usage.tools) > 1 for usage in usages) >= SEVERAL * len(usages):
        return list(usages)
    note("remark: hardly any held-out usage needs several tools; some are joined to weigh the parts of queries by")
    return compose(usages, share=0.3, seed=seed)
