"""`labelspace label` against a real vLLM: constrained choice, JSON, and one-token labels with exact probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labelspace.agents.labeling.labeler import Labeler
from labelspace.cli import main
from labelspace.data import read_records, write_rows
from labelspace.space import Label, LabelSpace

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

TEXTS = [f"Some words about {n * 37 % 101}, and then {n}." for n in range(6)]
COLOURS = LabelSpace.of(["red", "dark green", "blue"])


def topics(count: int) -> LabelSpace:
    labels = tuple(Label(name=f"topic {n}", description=f"All about {n}.") for n in range(count))
    return LabelSpace(labels=labels, other="none of these")


def label(server: Any, folder: Path, space: LabelSpace, *more: str, requests: int = 1) -> list[dict[str, Any]]:
    """Label the texts on the command line; a rerun must ask nothing and say the same."""
    data, out = str(folder / "texts.jsonl"), folder / "labels.jsonl"
    write_rows(data, ({"id": str(n), "text": text} for n, text in enumerate(TEXTS)))
    space.save(folder / "space.yaml")
    arguments = ["label", data, "--space", str(folder / "space.yaml"), "--out", str(out), "--model", server.model]
    made: list[bytes] = []
    for _ in range(2):
        with pytest.raises(SystemExit) as done:
            main([*arguments, *more])
        assert not done.value.code
        made.append(out.read_bytes())
    assert made[0] == made[1]
    run = json.loads((folder / "labels.jsonl.run.json").read_text())
    assert (run["engine"]["calls"], run["engine"]["reused"]) == (0, requests * len(TEXTS))
    assert run["engine"]["server"].startswith("vllm ")
    rows = [json.loads(line) for line in made[0].splitlines()]
    assert [row["id"] for row in rows] == [str(n) for n in range(len(TEXTS))]
    assert {row["source"]["constraint"] for row in rows} == {"structured_outputs"}
    return rows


def test_a_choice_is_one_of_the_names(vllm: Any, tmp_path: Path) -> None:
    rows = label(vllm, tmp_path, COLOURS)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["label"] for row in rows} <= set(COLOURS.leaves)
    assert all(0 < row["confidence"] <= 1 for row in rows)


def test_a_rationale_is_json(vllm: Any, tmp_path: Path) -> None:
    rows = label(vllm, tmp_path, COLOURS, "--rationale")
    assert {row["label"] for row in rows} <= set(COLOURS.leaves)
    assert all(isinstance(row["rationale"], str) for row in rows)


def test_several_labels_are_json(vllm: Any, tmp_path: Path) -> None:
    rows = label(vllm, tmp_path, LabelSpace.of(["price", "quality", "service"], multi_label=True))
    assert {row["status"] for row in rows} == {"ok"}
    assert {name for row in rows for name in row["labels"]} <= {"price", "quality", "service"}


@pytest.mark.parametrize("count", [3, 40, 150])
def test_the_distribution_is_that_of_the_models_logits(vllm: Any, tmp_path: Path, count: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    space = topics(count)
    rows = label(vllm, tmp_path, space, "--one-token", requests=1 + count // 128)
    assert {row["source"]["confidence"] for row in rows} == {"logprobs"}

    tokenizer = AutoTokenizer.from_pretrained(vllm.folder)
    model = AutoModelForCausalLM.from_pretrained(vllm.folder, dtype=torch.float32).eval()
    journal = tmp_path / "labels.jsonl.journal.sqlite"
    labeler = Labeler(space, model=vllm.model, one_token=True, journal=journal)
    worst = 0.0
    for row, record in zip(rows, read_records(tmp_path / "texts.jsonl"), strict=True):
        request, *_ = labeler.estimate([record]).examples
        assert request.choices is not None
        assert (len(request.choices), request.max_tokens) == (count + 1, 1)
        prompt = tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        tokens = tokenizer.convert_tokens_to_ids(list(request.choices))
        assert tokenizer.unk_token_id not in tokens
        with torch.inference_mode():
            expected = model(ids).logits[0, -1, tokens].double().softmax(-1).tolist()
        names = [*space.leaves, space.other]
        best = names[max(range(len(names)), key=expected.__getitem__)]
        assert row["label"] == (best if best != space.other else None)
        shares = dict(zip(space.leaves, expected, strict=False))
        likeliest = sorted(space.leaves, key=lambda name: -shares[name])[: count if count <= 50 else 8]
        assert set(likeliest) <= set(row["scores"])
        for name, score in row["scores"].items():
            worst = max(worst, abs(score - shares[name]))
        if row["status"] == "ok":
            assert row["confidence"] == pytest.approx(max(expected), abs=1e-3)
    print(f"largest difference: {worst:.1e}")
    assert worst < 1e-3
    assert len({json.dumps(row["scores"]) for row in rows}) == len(rows), "the distribution depends on the text"
