"""What goes in and comes out of the server's pages, as its OpenAPI description has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ClassifyRequest(BaseModel):
    """What `/classify` takes, as vLLM does; fields of vLLM's that change nothing here are passed over."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["Where is my parcel?"]}]})

    input: Annotated[str | Annotated[list[str], Field(min_length=1)], Field(description="A text, or texts.")]
    model: str | None = Field(None, description="Name of the model; may be left out where there is one.")
    use_activation: Literal[True] | None = Field(None, description="Probabilities; logits can't be had here.")


class ClassifiedText(BaseModel):
    """One answer."""

    index: int
    label: str | None = Field(description="The likeliest label; null where the text is blank.")
    labels: list[str] = Field(description="The labels given, by thresholds where a text can have several.")
    probs: list[float] = Field(description="Of all labels, in the order of `labelspace.labels`.")
    num_classes: int
    confidence: float | None = Field(description="Probability that `labels` is right.")
    status: str = Field(description="ok, or abstained.")
    reason: str | None
    answered_by: str = Field(description="head, or the name of the model that was asked instead.")
    review: str | None = Field(description="Why a person should look at it; null where nobody needs to.")


class SpaceOfAnswer(BaseModel):
    """What the answers mean."""

    version: str
    labels: list[str]
    multi_label: bool
    thresholds: list[float] | None


class ClassifyReply(BaseModel):
    """What `/classify` answers: vLLM's reply, with more."""

    id: str
    object: str
    created: int
    model: str
    data: list[ClassifiedText]
    labelspace: SpaceOfAnswer


class Problem(BaseModel):
    """What was wrong."""

    message: str
    type: str
    code: int


class ProblemReply(BaseModel):
    """An error, in the form of vLLM and OpenAI."""

    error: Problem


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemReply, "description": what}
    for status, what in {
        400: "The request is not understood", 401: "No key, or a wrong one", 404: "There is no such model",
        408: "The body came too slowly", 413: "Too many bytes, texts or characters", 503: "Busy: come again",
        504: "Not answered in time",
    }.items()
}  # fmt: skip
