"""A transformers model in this process: `hf:FOLDER`. For small models; it scores choices exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from labelspace.errors import MissingExtra, ModelError
from labelspace.llm.gathered import Gathered
from labelspace.llm.request import CallFailed, Reply, Request, TokenLogprob
from labelspace.llm.scripted import canonical

_TOGETHER = 32
"""Choices scored in one forward pass."""
_LONGEST = 512
"""Tokens of a reply whose request sets no bound."""


class TransformersModel:
    """A causal language model from a local folder.

    With `choices` nothing is generated: the reply is the choice with the highest log-probability
    given the prompt (the sum over its tokens), and all of them are in `Reply.choice_logprobs`. A
    schema cannot be enforced here: it is left to the prompt and the parser, and `constraint` says so.
    """

    def __init__(self, folder: str, *, parameters: Mapping[str, Any] | None = None) -> None:
        """Name the folder; it is loaded by `start`.

        Args:
            folder: With model, tokenizer and, for chat models, the chat template.
            parameters: Further arguments of `from_pretrained`, such as `dtype`.
        """
        self.folder = folder
        self.name = f"hf:{Path(folder).name}"
        self._parameters = dict(parameters or {})
        self._model: Any = None
        self._tokenizer: Any = None
        self._calls = Gathered(self._answer, most=8)

    async def start(self, memory: dict[str, str]) -> None:
        """Load model and tokenizer.

        Raises:
            MissingExtra: transformers or torch is not installed.
            ModelError: The folder holds no model that can be loaded.
        """
        if self._model is None:
            await asyncio.get_running_loop().run_in_executor(None, self._load)

    def _load(self) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtra(str(error.name or "transformers"), "finetune") from None
        if not Path(self.folder, "config.json").is_file():
            raise ModelError(f"hf:{self.folder}: there is no model in this folder (no config.json)")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(self.folder, local_files_only=True, **self._parameters)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"hf:{self.folder} cannot be loaded ({' '.join(str(error).split())[:300]})") from error
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def encode(self, request: Request) -> bytes:
        """The request and the folder."""
        extra = orjson.dumps(self._parameters, option=orjson.OPT_SORT_KEYS, default=str)
        return canonical(f"hf:{self.folder}", request) + extra

    async def complete(self, request: Request) -> Reply:
        """Score or generate, in the model's own thread."""
        return await self._calls.ask(request)

    def _answer(self, requests: list[Request]) -> list[Reply | Exception]:
        answers: list[Reply | Exception] = []
        for request in requests:
            try:
                answers.append(self._score(request) if request.choices is not None else self._generate(request))
            except CallFailed as failure:
                answers.append(failure)
        return answers

    def prompt_ids(self, request: Request) -> list[int]:
        """The prompt's tokens: by the chat template, or the bare contents where there is none."""
        messages = list(request.messages)
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            ids = self._tokenizer("\n\n".join(message["content"] for message in messages) + "\n")["input_ids"]
        longest = getattr(self._model.config, "max_position_embeddings", None)
        if longest is not None and len(ids) >= longest:
            raise CallFailed("context_length", f"the prompt has {len(ids)} tokens, the model takes {longest}")
        return list(ids)

    def _score(self, request: Request) -> Reply:
        import torch

        assert request.choices is not None
        prompt = self.prompt_ids(request)
        endings = [self._tokenizer(choice, add_special_tokens=False)["input_ids"] for choice in request.choices]
        scores: list[float] = []
        with torch.inference_mode():
            if all(len(ending) == 1 for ending in endings):
                logits = self._model(torch.tensor([prompt], device=self._model.device)).logits[0, -1]
                logprobs = logits.float().log_softmax(-1)
                scores = [float(logprobs[ending[0]]) for ending in endings]
            else:
                for start in range(0, len(endings), _TOGETHER):
                    scores += self._score_endings(prompt, endings[start : start + _TOGETHER])
        best = max(range(len(scores)), key=scores.__getitem__)
        return Reply(
            text=request.choices[best],
            finish_reason="stop",
            prompt_tokens=len(prompt),
            completion_tokens=len(endings[best]),
            model=self.name,
            choice_logprobs=dict(zip(request.choices, scores, strict=True)),
            constraint="scored",
        )

    def _score_endings(self, prompt: list[int], endings: list[list[int]]) -> list[float]:
        """Log-probability of each ending after the prompt: logits [endings, longest, vocabulary]."""
        import torch

        longest = max(map(len, endings))
        rows = [prompt + ending + [0] * (longest - len(ending)) for ending in endings]
        # Padding is on the right, where causal attention cannot see it.
        logits = self._model(torch.tensor(rows, device=self._model.device)).logits[:, len(prompt) - 1 : -1]
        logprobs = logits.float().log_softmax(-1)
        return [
            float(sum(logprobs[row, place, token] for place, token in enumerate(ending)))
            for row, ending in enumerate(endings)
        ]

    def _generate(self, request: Request) -> Reply:
        import torch

        prompt = self.prompt_ids(request)
        if request.seed is not None:
            torch.manual_seed(request.seed)
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if request.temperature:
            sampling = {
                "do_sample": True,
                "temperature": request.temperature,
                "top_p": request.top_p or 1.0,
                "top_k": 0,
            }
        ids = torch.tensor([prompt], device=self._model.device)
        with torch.inference_mode():
            made = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request.max_tokens or _LONGEST,
                output_logits=bool(request.logprobs),
                return_dict_in_generate=True,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
                **({"stop_strings": list(request.stop), "tokenizer": self._tokenizer} if request.stop else {}),
                **sampling,
            )
        new = made.sequences[0, len(prompt) :].tolist()
        ended = bool(new) and new[-1] == self._tokenizer.eos_token_id
        tokens = None
        if request.logprobs:
            tokens = tuple(
                self._token(token, logits[0].float().log_softmax(-1), request.logprobs)
                for token, logits in zip(new, made.logits, strict=True)
            )
        return Reply(
            text=self._tokenizer.decode(new, skip_special_tokens=True),
            finish_reason="stop" if ended else "length",
            prompt_tokens=len(prompt),
            completion_tokens=len(new),
            model=self.name,
            logprobs=tokens,
            constraint="prompt" if request.schema is not None else None,
        )

    def _token(self, token: int, logprobs: Any, most: int) -> TokenLogprob:
        top = logprobs.topk(min(most, logprobs.shape[-1]))
        named = tuple(
            (self._tokenizer.decode([one]), float(value))
            for one, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        )
        return TokenLogprob(self._tokenizer.decode([token]), float(logprobs[token]), named)

    async def close(self) -> None:
        """Let the thread end; the model goes with its owner."""
        self._calls.close()
