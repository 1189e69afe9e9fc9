"""`POST /classify`, answered without FastAPI: it would take longer than a small model does.

FastAPI describes it in OpenAPI, and has all other pages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import ValidationError

from labelspace.serve.answers import read_answers, write_reply
from labelspace.serve.batching import Overloaded, Refused
from labelspace.serve.forms import ClassifyRequest
from labelspace.serve.guard import Limits, Message, Receive, Send, problem, within
from labelspace.serve.models import Model, Models, Refusal

if TYPE_CHECKING:
    from labelspace.serve.answers import Answer
    from labelspace.serve.counts import Counts
    from labelspace.serve.log import AnswerLog

PATH = "/classify"


class Classify:
    """An ASGI application for this one page; the whole body is in the first message, as `Guard` hands it on."""

    def __init__(self, models: Models, *, counts: Counts, limits: Limits, log: AnswerLog | None) -> None:
        """Take what answers, and the bounds."""
        self._models, self._counts, self._limits, self._log = models, counts, limits, log

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer."""
        message = await receive()
        status = 200
        try:
            body = await self._answer(scope, message)
        except Refusal as error:
            status, body = error.status, problem(error.status, error.message)
        except Exception:
            await _send(send, 500, problem(500, "the server failed at this request"))
            raise  # so that it is in the log
        await _send(send, status, body)

    async def _answer(self, scope: Any, message: Message) -> bytes:
        # A page of another site may post plain text to a server on this machine without asking; JSON it may not.
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if not kind.lower().startswith(b"application/json"):
            raise Refusal(400, "the body is not said to be JSON; send Content-Type: application/json")
        try:
            asked = ClassifyRequest.model_validate_json(message["body"])
        except ValidationError as error:
            raise Refusal(400, _wrong(error)) from None
        model = self._models.pick(asked.model)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if len(texts) > self._limits.texts:
            raise Refusal(413, f"{len(texts):,} texts are too many; send at most {self._limits.texts:,} in a request")
        if max(map(len, texts)) > self._limits.characters:
            raise Refusal(413, f"a text has more than {self._limits.characters:,} characters")
        answers = await self._ask(model, texts)
        for one in answers:
            self._counts.answer(one)
        name = f"classify-{uuid4().hex}"
        if self._log is not None:
            self._log.write(name, texts, answers, model.served)
        return write_reply(name, model.served.model, answers, model.space)

    async def _ask(self, model: Model, texts: list[str]) -> list[Answer]:
        wanted = [text for text in texts if text.strip()]
        seconds = self._limits.answer_seconds
        try:
            async with within(seconds):
                rows = await model.probabilities(wanted) if wanted else ()
                answers = read_answers(texts, rows, model.served)
                if model.cascade is not None:
                    await model.cascade.complete(texts, answers)
                return answers
        except asyncio.TimeoutError:
            raise Refusal(504, f"there was no answer within {seconds:g} s") from None
        except Overloaded as error:
            raise Refusal(503, f"the server is busy: {error}; come again") from None
        except Refused as error:
            raise Refusal(400, str(error)) from None


def _wrong(error: ValidationError) -> str:
    # What was sent is not repeated: it may be no characters at all.
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(str(part) for part in problems[0]["loc"][:1])
    what = " or ".join(dict.fromkeys(str(one["msg"]) for one in problems))
    return f"{where}: {what}" if where else what


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
