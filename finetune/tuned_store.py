"""Fine-tuned models in the same folders as all others: `model.json` with label space and card, weights beside it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelspace.errors import ConfigError, DataError, MissingExtra
from labelspace.finetune.classifier import HeadClassifier
from labelspace.space import LabelSpace

if TYPE_CHECKING:
    from labelspace.finetune.finetuned import FineTuned

FORMAT = 1
MODEL, CARD = "model.json", "README.md"
KINDS = {
    "ls": ("labelspace.finetune.ls", "LabelSupervised"),
    "few-shot": ("labelspace.finetune.few_shot", "FewShot"),  # what it saves is an ls
    "ls-descriptions": ("labelspace.finetune.described", "LabelDescriptions"),
    "ls-token": ("labelspace.finetune.ls_token", "LabelSupervisedTagger"),
    "ptec": ("labelspace.finetune.ptec", "PTEC"),
}
"""Kind of head to module and class, imported when one is asked for."""


def head_class(kind: str) -> Any:
    """The class of a kind of fine-tuned head.

    Raises:
        MissingExtra: What it needs is not installed.
    """
    module, name = KINDS[kind]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "finetune") from error


def check_target(folder: Path) -> None:
    """Refuse a folder in which a model would take the place of something else.

    Raises:
        DataError: It holds something other than a model.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / MODEL).exists() or not any(folder.iterdir()))):
        raise DataError("is there already and is no model", path=str(folder), advice="name another folder")


def save_tuned(folder: str | Path, model: FineTuned, space: LabelSpace, card: Mapping[str, Any] | None = None) -> None:
    """Write a fine-tuned model; one that is there is replaced when the new one is whole.

    Args:
        folder: The folder to make.
        model: The trained model.
        space: The space of its labels; for tags, that of the types of spans.
        card: What to keep of how it came about, as plain data: data, settings, metrics.

    Raises:
        DataError: The folder can't be written, or holds something other than a model.
    """
    from labelspace import __version__

    folder = Path(folder).resolve()
    check_target(folder)
    mark = secrets.token_hex(4)
    made, old = folder.with_name(f".{folder.name}.{mark}.part"), folder.with_name(f".{folder.name}.{mark}.old")
    about = {
        "format": FORMAT,
        "labelspace": __version__,
        "head": {"kind": model.kind},
        "space": space.to_data(),
        "card": dict(card or {}),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save(made)
        if not made.exists():  # of several processes one writes
            return
        (made / MODEL).write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        (made / CARD).write_text(_card(folder.name, model, space, card or {}), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        made.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise DataError(f"can't be written: {error.strerror or error}", path=str(folder)) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def load_tuned(folder: str | Path, data: Mapping[str, Any], *, base: str | None = None) -> Any:
    """Read a fine-tuned model.

    Args:
        folder: As `save_tuned` made it.
        data: The content of its `model.json`.
        base: Where its backbone is, if it has moved.

    Returns:
        A `HeadClassifier`; the tagger itself for tags.

    Raises:
        DataError: The folder is incomplete or damaged.
        ConfigError: The backbone is not where it was.
    """
    folder, kind = Path(folder), data["head"]["kind"]
    try:
        space = LabelSpace.from_data(data["space"])
        model = head_class(kind).load(folder, base=base)
    except (KeyError, TypeError) as error:
        raise DataError(f"the model is damaged: {type(error).__name__} {error}", path=str(folder)) from error
    if kind == "ls-token":
        return model
    return HeadClassifier(model, space, source={"model": folder.name, "head": kind, "base": model.base})


def no_tagger(kind: str) -> None:
    """Refuse a tagger where texts are to be classified.

    Raises:
        ConfigError: It is one.
    """
    if kind == "ls-token":
        raise ConfigError("this model gives tags to words, not labels to texts; apply it with labelspace predict")


def _card(name: str, model: FineTuned, space: LabelSpace, card: Mapping[str, Any]) -> str:
    """A model card: what Hugging Face shows of a folder."""
    front = (
        f"---\nbase_model: {model.base}\nlibrary_name: {'peft' if model.tuning == 'lora' else 'transformers'}\n---\n"
    )
    parts = [
        f"# {name}",
        f"A `{model.kind}` head on `{model.base}`, for {len(space.leaves)} labels; made by labelspace.",
    ]
    for title, content in (
        ("Data", card.get("data")),
        ("Metrics", card.get("held_out")),
        ("Settings", {**model.settings(), "training": model.training.model_dump(mode="json")}),
    ):
        if content:
            parts += [f"## {title}", "```json\n" + json.dumps(content, indent=1, ensure_ascii=False) + "\n```"]
    use = "labelspace predict FOLDER DATA --out predictions.jsonl"
    parts += ["## Use", f"    {use}"]
    return front + "\n\n".join(parts) + "\n"
