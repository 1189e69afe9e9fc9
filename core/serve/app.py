"""The server's pages: `/classify` as vLLM has it, and what a label space adds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from labelspace.errors import MissingExtra
from labelspace.serve.classify import PATH, Classify
from labelspace.serve.counts import Counts
from labelspace.serve.forms import PROBLEMS, ClassifyReply, ClassifyRequest
from labelspace.serve.guard import App, Guard, Limits, Receive, Send, problem
from labelspace.serve.log import AnswerLog
from labelspace.serve.models import Models, Refusal
from labelspace.serve.page import PAGE

try:  # here, because FastAPI looks up annotations among the names of the module
    from fastapi import FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise MissingExtra("fastapi", "serve") from error


def make_app(
    models: Models,
    *,
    counts: Counts,
    limits: Limits | None = None,
    key: str | None = None,
    check: Callable[[], Awaitable[bool]] | None = None,
    log: AnswerLog | None = None,
) -> App:
    """Make the ASGI application.

    Args:
        models: The first answers where a request names none.
        counts: What is counted.
        limits: Bounds on requests.
        key: See `Guard`.
        check: Whether what stands behind is well, for `/health`.
        log: Where answers are written.
    """
    bounds = limits or Limits()

    @asynccontextmanager
    async def life(_app: Any) -> AsyncIterator[None]:
        yield
        await models.close()
        if log is not None:
            log.close()

    app = FastAPI(
        title="labelspace", version="1", lifespan=life, docs_url=None, redoc_url=None,
        description="Texts to labels. `/classify` takes and gives what vLLM's does, and more.",
    )  # fmt: skip

    def answer(content: Any, status: int = 200) -> Response:
        body = content if isinstance(content, bytes) else orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, status, media_type="application/json")

    @app.post(PATH, response_model=ClassifyReply, responses=PROBLEMS)
    async def classify(asked: ClassifyRequest) -> None:
        """Classify a text, or texts."""
        raise AssertionError("answered before FastAPI sees it")

    @app.get("/labelspace", responses={404: PROBLEMS[404], 401: PROBLEMS[401]})
    async def labelspace(model: str | None = None) -> Response:
        """The label space: names, descriptions, tree, thresholds, version."""
        return answer(models.pick(model).served.for_callers().to_data())

    @app.get("/v1/models", responses={401: PROBLEMS[401]})
    async def list_models() -> dict[str, Any]:
        """The models, by name."""
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "owned_by": "labelspace"} for name in models.names],
        }

    @app.get("/health", responses={503: PROBLEMS[503]})
    async def health() -> dict[str, str]:
        """Whether requests are answered."""
        if check is not None and not await check():
            raise Refusal(503, "what stands behind the server does not answer")
        return {"status": "ok"}

    if models.heads is not None:

        @app.post("/heads/{name}", responses={status: PROBLEMS[status] for status in (400, 401, 404, 503)})
        async def load_head(name: str) -> dict[str, Any]:
            """Load a head onto the base, or load it anew; it lies under its name in the folder of heads."""
            await models.load(name)
            return {"models": models.names}

        @app.delete("/heads/{name}", responses={status: PROBLEMS[status] for status in (400, 401, 404, 503)})
        async def unload_head(name: str) -> dict[str, Any]:
            """Unload a head, when what was asked of it is answered."""
            await models.unload(name)
            return {"models": models.names}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        counts.waiting.set(models.waiting)
        return Response(counts.render(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(PAGE, media_type="text/html; charset=utf-8")

    @app.exception_handler(Refusal)
    async def refused(_request: Request, error: Refusal) -> Response:
        response = answer(problem(error.status, error.message), error.status)
        if error.status == 503:
            response.headers["Retry-After"] = "1"
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        # What was sent is not repeated: it may be half of a surrogate pair, which no JSON can hold.
        where = ".".join(str(part) for part in error.errors()[0]["loc"][1:2])
        what = " or ".join(dict.fromkeys(str(one["msg"]) for one in error.errors()))
        return answer(problem(400, f"{where}: {what}" if where else what), 400)

    @app.exception_handler(HTTPException)
    async def failed(_request: Request, error: HTTPException) -> Response:
        return answer(problem(error.status_code, str(error.detail)), error.status_code)

    @app.exception_handler(Exception)
    async def broken(_request: Request, _error: Exception) -> Response:
        # Starlette raises it again afterwards, so that it is in the log.
        return answer(problem(500, "the server failed at this request"), 500)

    direct = Classify(models, counts=counts, limits=bounds, log=log)

    async def route(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        is_direct = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
        await (direct if is_direct else app)(scope, receive, send)

    return Guard(route, limits=bounds, key=key, counted=counts.request)
