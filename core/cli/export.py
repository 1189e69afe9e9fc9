"""`labelspace export`: a trained head in a form that servers take."""

from __future__ import annotations

import click

EPILOG = """\b
Before OUT gets its name, what was written is loaded again and compared with the model on texts of all lengths and
scripts; what does not say the same is not written.

\b
Example:
  labelspace train sample:support --space sample:support --out model
  labelspace export model --to onnx out"""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL_DIR")
@click.argument("out", metavar="OUT")
@click.option(
    "--to",
    "form",
    type=click.Choice(["vllm", "adapter", "onnx"]),
    required=True,
    help="vllm: a checkpoint that vLLM serves; adapter: a LoRA or soft prompt with its own head, for many on one base; "
    "onnx: encoder and head for ONNX Runtime, of heads over text embeddings.",
)
@click.option("--base", metavar="FOLDER", help="Where the model's base or embedder is now, if it has moved.")
@click.option(
    "--shared-base",
    metavar="FOLDER",
    help="With adapter: the base that vLLM serves them on; made if it is not there.",
)
def command(*, model: str, out: str, form: str, base: str | None, shared_base: str | None) -> None:
    """Write the classifier in MODEL_DIR to OUT in a form that servers take."""
    from labelspace.errors import ConfigError
    from labelspace.progress import note

    if (form == "adapter") != (shared_base is not None):
        raise ConfigError("--to adapter and --shared-base go together: the adapter is made for that base")
    if form == "onnx":
        from labelspace.finetune.export.onnx import export_onnx

        difference = export_onnx(model, out, embedder=base)
        note(f"written to {out}; its probabilities are within {difference:.1e} of the model's")
        note(f"Next: labelspace predict {out} DATA, or labelspace serve {out}")
        return
    if form == "adapter":
        from labelspace.finetune.export.adapter import export_adapter

        served, difference = export_adapter(model, out, shared_base or "", base=base)
        start = f"labelspace serve {shared_base} --engine vllm --adapter {out}"
    else:
        from labelspace.finetune.store import EMBEDDED, read_model

        if read_model(model)["head"]["kind"] in EMBEDDED:
            from labelspace.finetune.export.embedded import export_embedded

            served, difference = export_embedded(model, out, embedder=base)
        else:
            from labelspace.finetune.export.vllm import export_merged

            served, difference = export_merged(model, out, base=base)
        start = f"labelspace serve {out} --engine vllm"
    note(
        f"a {served.head} head for {len(served.names)} labels, written to {out}; as transformers reads it, what it says"
    )
    note(f"is within {difference:.1e} of what the model says")
    if served.has_outer_head:
        note("vLLM gives vectors of it, to which labelspace serve and VLLMClassifier apply the head")
    note(f"Next: {start}")
