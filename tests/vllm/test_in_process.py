"""vLLM in this process (`vllm:FOLDER`): choices, JSON, exact one-token distributions, texts that are too long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.labeling.labeler import Labeler
from labelspace.llm.local_vllm import VLLMModel
from labelspace.space import Label, LabelSpace

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # vLLM warns of what is its own affair
]

TEXTS = [f"Some words about {n * 37 % 101}, and then {n}." for n in range(5)]
TOPICS = LabelSpace(labels=tuple(Label(name=f"topic {n}") for n in range(5)), other="none of these")


@pytest.fixture(scope="module")
def model(vllm_model: Path) -> VLLMModel:
    settings: dict[str, Any] = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20}
    return VLLMModel(str(vllm_model), parameters={**settings, "max_num_seqs": 16, "max_model_len": 2000})


def test_a_choice_is_one_of_the_names_and_is_not_asked_twice(model: VLLMModel, tmp_path: Path) -> None:
    space = LabelSpace.of(["red", "dark green", "blue"])
    labeler = Labeler(space, model=model, journal=tmp_path / "journal")
    first = list(labeler.predict(TEXTS))
    assert [one.status for one in first] == ["ok"] * len(TEXTS)
    assert {one.label for one in first} <= set(space.leaves)
    assert all(one.confidence is not None and 0 < one.confidence <= 1 for one in first)
    assert {one.source["constraint"] for one in first} == {"structured_outputs"}
    assert list(labeler.predict(TEXTS)) == first
    assert labeler.stats["calls"] == 0


def test_several_labels_are_json(model: VLLMModel) -> None:
    space = LabelSpace.of(["price", "quality", "service"], multi_label=True)
    made = list(Labeler(space, model=model).predict(TEXTS))
    assert {one.status for one in made} == {"ok"}
    assert {name for one in made for name in one.labels} <= set(space.leaves)


def test_the_distribution_is_that_of_the_models_logits(model: VLLMModel) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    labeler = Labeler(TOPICS, model=model, one_token=True)
    made = list(labeler.predict(TEXTS))
    requests = labeler.estimate(TEXTS).examples
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    exact = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32).eval()
    for one, request in zip(made, requests, strict=False):
        prompt = tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logits = exact(ids).logits[0, -1, tokenizer.convert_tokens_to_ids(list(request.choices or ()))]
        expected = dict(zip(TOPICS.leaves, logits.double().softmax(-1).tolist(), strict=False))
        assert one.scores == pytest.approx(expected, abs=1e-3)
        assert one.source["confidence"] == "logprobs"


def test_a_text_that_is_too_long_is_cut_and_says_so(model: VLLMModel) -> None:
    [made] = Labeler(LabelSpace.of(["red", "blue"]), model=model).predict(["words and more " * 800])
    assert made.status == "ok"
    assert made.reason == "the text was shortened to fit the model's context"
