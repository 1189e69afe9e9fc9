"""vLLM in this process: `vllm:FOLDER`. For batch work on one machine, without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import orjson

from labelspace.errors import MissingExtra, ModelError
from labelspace.llm.gathered import Gathered
from labelspace.llm.request import CallFailed, Reply, Request, TokenLogprob
from labelspace.llm.scripted import canonical

_ENVIRONMENT = {
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # labels may go to stdout
}
_CACHE = 1 << 30
"""Bytes for keys and values on a CPU, where vLLM by itself takes nearly all memory, or dies."""


class VLLMModel:
    """A model that vLLM runs in this process; what waits is answered in one batch."""

    def __init__(self, folder: str, *, parameters: Mapping[str, Any] | None = None) -> None:
        """Name the folder; it is loaded by `start`.

        Args:
            folder: The model.
            parameters: Further arguments of `vllm.LLM`, such as `max_model_len` or `kv_cache_memory_bytes`.
        """
        self.folder = folder
        self.name = f"vllm:{folder.rstrip('/').rpartition('/')[2]}"
        self._parameters = dict(parameters or {})
        self._llm: Any = None
        self._calls = Gathered(self._answer, most=1024)

    async def start(self, memory: dict[str, str]) -> None:
        """Load the model, with a context as long as memory allows.

        Raises:
            MissingExtra: vLLM is not installed.
            ModelError: It cannot load the folder.
        """
        if self._llm is None:
            await asyncio.get_running_loop().run_in_executor(None, self._load)

    def _load(self) -> None:
        for name, value in _ENVIRONMENT.items():  # vLLM reads it when it is imported
            os.environ.setdefault(name, value)
        try:
            import torch
            from vllm import LLM
        except ImportError:
            raise MissingExtra("vllm", "vllm") from None
        settings: dict[str, Any] = {"max_model_len": -1}  # what fits
        if not torch.cuda.is_available() and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            settings["kv_cache_memory_bytes"] = _CACHE
        try:
            self._llm = LLM(model=self.folder, **{**settings, **self._parameters})
        except Exception as error:
            raise ModelError(f"vllm:{self.folder} cannot be loaded ({' '.join(str(error).split())[:300]})") from error

    def encode(self, request: Request) -> bytes:
        """The request, the folder and how it was loaded."""
        extra = orjson.dumps(self._parameters, option=orjson.OPT_SORT_KEYS, default=str)
        return canonical(f"vllm:{self.folder}", request) + extra

    async def tokenize(self, text: str) -> list[int] | None:
        """Ids of a text's tokens, without special ones."""
        return list(self._llm.get_tokenizer().encode(text, add_special_tokens=False))

    async def complete(self, request: Request) -> Reply:
        """Answer with the next batch."""
        return await self._calls.ask(request)

    def _answer(self, requests: list[Request]) -> list[Reply | Exception]:
        from vllm.exceptions import VLLMClientError

        messages = [[dict(message) for message in request.messages] for request in requests]
        try:
            results = self._llm.chat(messages, [self._sampling(one) for one in requests], use_tqdm=False)
        except (ValueError, VLLMClientError) as error:
            if len(requests) > 1:  # one of them is not possible: find out which
                return [answer for request in requests for answer in self._answer([request])]
            text = " ".join(str(error).split())[:300]
            return [CallFailed("context_length" if "length" in text or "long" in text else "rejected", text)]
        except Exception as error:
            raise ModelError(f"{self.name} failed ({' '.join(str(error).split())[:300]})") from error
        return [self._read(request, result) for request, result in zip(requests, results, strict=True)]

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        form = None
        if request.choices is not None:
            form = StructuredOutputsParams(choice=list(request.choices))
        elif request.schema is not None:
            form = StructuredOutputsParams(json=dict(request.schema))
        return SamplingParams(
            temperature=request.temperature if request.temperature is not None else 1.0,
            top_p=request.top_p if request.top_p is not None else 1.0,
            max_tokens=request.max_tokens or 2048,
            seed=request.seed,
            stop=list(request.stop or ()),
            logprobs=(request.logprobs or None) if request.token_ids is None else None,
            logprob_token_ids=None if request.token_ids is None else [*request.token_ids.values()],
            structured_outputs=form,
        )

    def _read(self, request: Request, result: Any) -> Reply:
        output = result.outputs[0]
        tokens = None
        if output.logprobs:
            tokens = tuple(
                TokenLogprob(
                    place[token].decoded_token or "",
                    float(place[token].logprob),
                    tuple(
                        (one.decoded_token or "", float(one.logprob))
                        for one in sorted(place.values(), key=lambda one: -one.logprob)
                    ),
                )
                for token, place in zip(output.token_ids, output.logprobs, strict=True)
            )
        scored = None
        if output.logprobs and request.choices is not None and request.token_ids is not None:
            place = output.logprobs[0]
            if all(token in place for token in request.token_ids.values()):
                scored = {choice: float(place[token].logprob) for choice, token in request.token_ids.items()}
        held = request.choices is not None or request.schema is not None
        return Reply(
            text=output.text,
            finish_reason=output.finish_reason,
            prompt_tokens=len(result.prompt_token_ids or ()),
            completion_tokens=len(output.token_ids),
            model=self.name,
            logprobs=None if scored else tokens,
            choice_logprobs=scored,
            constraint="structured_outputs" if held else None,
        )

    async def close(self) -> None:
        """Let the thread end; vLLM goes with its owner."""
        self._calls.close()
