"""A frozen stack that sees each text but once gives what it would give each time."""

from __future__ import annotations

import pytest
import tiny
import torch

from labelspace.finetune.backbone import Backbone, load_backbone
from labelspace.finetune.ls_token import LabelSupervisedTagger
from labelspace.finetune.remembered import Remembered
from labelspace.finetune.train_settings import TrainSettings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.build_base(tmp_path_factory.mktemp("base"), kind="bert")


@pytest.mark.parametrize(("most_bytes", "runs"), [(1 << 20, [2, 0, 1]), (5 * 64 * 4, [2, 1, 2]), (0, [2, 2, 2])])
def test_it_gives_what_the_stack_gives(base: str, most_bytes: int, runs: list[int]) -> None:
    backbone, _ = load_backbone(base)
    seen: list[int] = []
    remembered = Remembered(backbone, most_bytes=most_bytes).train()
    backbone.model.register_forward_pre_hook(
        lambda _, __, named: seen.append(len(named["input_ids"])), with_kwargs=True
    )
    for ids, mask, ran in zip(
        ([[5, 6, 7, 8, 9], [4, 3, 2, 0, 0]], [[0, 5, 6, 7, 8, 9], [0, 0, 0, 4, 3, 2]], [[4, 3, 2], [4, 3, 1]]),
        ([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], [[0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]], [[1, 1, 1], [1, 1, 1]]),
        runs,
        strict=True,
    ):
        seen.clear()
        found = remembered(torch.tensor(ids), torch.tensor(mask))
        assert sum(seen) == ran, "texts that went through the stack"
        with torch.no_grad():
            wanted = backbone(torch.tensor(ids), torch.tensor(mask))
        real = torch.tensor(mask).bool()
        torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=1e-5)
        assert not found[~real].any() and not found.requires_grad


def test_a_frozen_tagger_learns_and_has_its_stack_back(base: str) -> None:
    training = TrainSettings(epochs=10, batch_size=4, learning_rate=1e-2, device="cpu")
    tagger = LabelSupervisedTagger(base, tuning="frozen", remember=True, training=training)
    tagger.fit(tiny.SENTENCES, tiny.TAGS, dev=(tiny.SENTENCES[:6], tiny.TAGS[:6]))
    assert tagger.model is not None and isinstance(tagger.model.backbone, Backbone)
    assert tagger.history_ is not None
    assert tagger.score(tiny.SENTENCES[:6], tiny.TAGS[:6]) == tagger.history_.best_score == 1.0
