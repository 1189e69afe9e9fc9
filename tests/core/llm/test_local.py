"""Models in this process: exact scores of choices, greedy text, the same journal."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from labelspace.errors import MissingExtra, ModelError
from labelspace.llm import Engine, Reply, Request, connect, run
from labelspace.llm.scores import choice_distribution

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LETTERS = [chr(code) for code in range(32, 127)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer model with random weights and a tokenizer of single characters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    path = tmp_path_factory.mktemp("model")
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.chat_template = "{% for m in messages %}{{ m['role'][0] }}:{{ m['content'] }}|{% endfor %}a:"
    fast.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


def ask(folder: Path, requests: list[Request], **settings: Any) -> list[Reply | str]:
    async def work() -> list[Reply | str]:
        async with Engine(f"hf:{folder}", **settings) as engine:
            return [o.reply or o.code or "" async for o in engine.map(requests, lambda r: r, lambda reply, _: reply)]

    return run(work())


def logits_after(folder: Path, text: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        return model(ids).logits[0].log_softmax(-1), ids[0].tolist(), tokenizer


def test_one_token_choices_equal_the_logits(folder: Path) -> None:
    request = Request([{"role": "user", "content": "Which?"}], choices=("A", "B", "C"), logprobs=3)
    (reply,) = ask(folder, [request])
    assert isinstance(reply, Reply)
    logprobs, _, tokenizer = logits_after(folder, "u:Which?|a:")
    wanted = {letter: float(logprobs[-1, tokenizer.convert_tokens_to_ids(letter)]) for letter in "ABC"}
    assert reply.choice_logprobs == pytest.approx(wanted, abs=1e-5)
    assert reply.text == max(wanted, key=wanted.__getitem__)
    assert reply.constraint == "scored"
    total = sum(map(math.exp, wanted.values()))
    scores = choice_distribution(reply, ("A", "B", "C"))
    assert scores == pytest.approx({letter: math.exp(value) / total for letter, value in wanted.items()}, abs=1e-5)


def test_longer_choices_sum_over_their_tokens(folder: Path) -> None:
    choices = ("refund", "bill", "no")
    (reply,) = ask(folder, [Request([{"role": "user", "content": "Which?"}], choices=choices)])
    assert isinstance(reply, Reply)
    assert reply.choice_logprobs is not None
    for choice in choices:
        logprobs, ids, _ = logits_after(folder, f"u:Which?|a:{choice}")
        start = len(ids) - len(choice)
        wanted = sum(float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids)))
        assert reply.choice_logprobs[choice] == pytest.approx(wanted, abs=1e-4)


def test_greedy_text_with_log_probabilities_and_journal(folder: Path, tmp_path: Path) -> None:
    request = Request([{"role": "user", "content": "Hi"}], max_tokens=6, logprobs=2)
    (first,) = ask(folder, [request], journal=tmp_path / "j.sqlite")
    (again,) = ask(folder, [request], journal=tmp_path / "j.sqlite")
    assert isinstance(first, Reply)
    assert isinstance(again, Reply)
    assert again.reused
    assert (again.text, again.logprobs) == (first.text, first.logprobs)
    assert first.logprobs is not None
    assert len(first.logprobs) == first.completion_tokens == 6
    logprobs, _, tokenizer = logits_after(folder, "u:Hi|a:")
    assert first.logprobs[0].token == tokenizer.decode([int(logprobs[-1].argmax())])
    assert first.logprobs[0].logprob == pytest.approx(float(logprobs[-1].max()), abs=1e-5)


def test_a_prompt_that_is_too_long_fails_alone(folder: Path) -> None:
    requests = [Request([{"role": "user", "content": text}], choices=("A", "B")) for text in ("x" * 500, "short")]
    long, short = ask(folder, requests)
    assert long == "context_length"
    assert isinstance(short, Reply)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no model in this folder"):
        ask(tmp_path, [])


def test_vllm_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # importing it fails, also where it is installed

    async def work() -> None:
        async with Engine(connect(f"vllm:{tmp_path}")):
            pass

    with pytest.raises(MissingExtra, match=r"pip install 'labelspace\[vllm\]'"):
        run(work())
