"""What recipes over recorded replies share: a model or its cassette, and texts of the data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from labelspace.agents.labeling.labeler import Labeler
from labelspace.config import Config
from labelspace.data import read_records
from labelspace.errors import DataError
from labelspace.llm import ChatModel, connect
from labelspace.llm.recorded import RecordedModel
from labelspace.recipes._discover_llm import Task
from labelspace.records import Prediction, Record
from labelspace.space import LabelSpace


class RecordedConfig(Config):
    """Where the texts and the replies are."""

    data: Path = Path("../shared/data")
    """Folder of the data sets, with one folder for each."""
    cassette: Path
    """The recorded replies."""
    model: str = ""
    """A model to ask instead, as `--model` of the command line."""
    timeout: float = 120.0
    """Seconds to wait for a reply of `model`."""


def asked(config: RecordedConfig) -> ChatModel:
    """The model, or its recorded replies; one for each run, as a connection belongs to the loop that opened it."""
    return model_or_replies(config.model, config.cassette, timeout=config.timeout)


def model_or_replies(model: str | None, cassette: Path, *, timeout: float) -> ChatModel:
    """The model, or recorded replies where none is named."""
    return connect(model, timeout=timeout) if model else RecordedModel(cassette)


def live(config: RecordedConfig) -> dict[str, Any]:
    """Settings of the engine: a live model is asked much at once."""
    return {"concurrency": 200, "patience": config.timeout} if config.model else {}


def check_recorded(models: Iterable[ChatModel], cassette: Path) -> None:
    """Refuse figures that lack replies.

    Raises:
        DataError: A request had no recorded reply.
    """
    missing = sum(len(model.lacked) for model in models if isinstance(model, RecordedModel))
    if missing:
        raise DataError(
            f"lacks {missing} replies: prompts, data or embeddings differ from those that were recorded",
            path=str(cassette),
            advice="name a model: model=URL",
        )


def read_rows(data: Path, name: str, split: str) -> list[Record]:
    """A split of a data set; ids by place, as what a data set calls its rows should not matter.

    Raises:
        DataError: It is not there.
    """
    path = data / name / f"{split}.jsonl.gz"
    if not path.exists():
        raise DataError("no such file", path=str(path), advice="name the folder of the data sets with data=FOLDER")
    return [
        Record(f"{name} {place}", row.text, labels=row.labels, metadata=row.metadata)
        for place, row in enumerate(read_records(path))
    ]


def labeler(config: RecordedConfig, task: Task, space: LabelSpace, model: ChatModel) -> Labeler:
    """Labels as `discover_llm` does."""
    engine = live(config)
    return Labeler(
        space,
        model=model,
        use_case=task.use_case,
        batch_documents=task.together,
        max_chars=task.max_chars,
        logprobs=0,
        concurrency=engine.pop("concurrency", "auto"),
        engine=engine,
    )


def label(
    config: RecordedConfig, task: Task, space: LabelSpace, model: ChatModel, records: Sequence[Record]
) -> list[Prediction]:
    """Labels of all records."""
    return list(labeler(config, task, space, model).predict(records))
