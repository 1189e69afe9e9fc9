"""Hidden states and pooled logits against computations written from the papers' equations, and padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, silu, softmax

from labelspace.errors import ConfigError
from labelspace.finetune.backbone import Backbone, find_layers, load_backbone, two_sided
from labelspace.finetune.pooling import pool

# What transformers does when it loads DeBERTa.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
ROPE: dict[str, Any] = {
    **SIZES,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    # Ids that no test text has stand for padding and the rest, so that nothing hangs on them.
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 3
DECODERS: dict[str, Any] = {
    "llama": transformers.LlamaConfig(**ROPE),
    "mistral": transformers.MistralConfig(**ROPE, sliding_window=WINDOW),
    "qwen3": transformers.Qwen3Config(**ROPE),
    "gemma": transformers.GemmaConfig(**ROPE),
    "gemma2": transformers.Gemma2Config(**ROPE, sliding_window=WINDOW, query_pre_attn_scalar=8),
    "gemma3": transformers.Gemma3TextConfig(
        **ROPE,
        sliding_window=WINDOW,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention"] * 2 + ["full_attention"],
    ),
    "gpt2": transformers.GPT2Config(vocab_size=99, n_embd=32, n_layer=3, n_head=4, n_positions=128),
    "gpt_neox": transformers.GPTNeoXConfig(**SIZES, max_position_embeddings=128),
    "bloom": transformers.BloomConfig(vocab_size=99, hidden_size=32, n_layer=3, n_head=4),
}
ENCODERS: dict[str, Any] = {
    "bert": transformers.BertConfig(**SIZES),
    "roberta": transformers.RobertaConfig(**SIZES, max_position_embeddings=130, pad_token_id=1),
    "deberta": transformers.DebertaConfig(**SIZES, relative_attention=True, pos_att_type="c2p|p2c"),
    "deberta_v2": transformers.DebertaV2Config(
        **SIZES, relative_attention=True, pos_att_type="c2p|p2c", position_buckets=8, norm_rel_ebd="layer_norm",
        share_att_key=True, position_biased_input=False,
    ),
    "modernbert": transformers.ModernBertConfig(
        **SIZES, local_attention=2 * WINDOW, global_attn_every_n_layers=2, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, cls_token_id=1, sep_token_id=2,
    ),
}  # fmt: skip
TEXT = [11, 52, 37, 88, 5, 23, 64, 9]


def make(name: str, *, attention: str = "sdpa", **settings: Any) -> Backbone:
    """A tiny model with random weights: the same ones for the same name."""
    torch.manual_seed(7)
    config = {**DECODERS, **ENCODERS}[name].__class__(**{**DECODERS, **ENCODERS}[name].to_dict())
    try:  # Gemma 2 caps its scores, which sdpa can't
        attention = "eager" if name == "gemma2" else attention
        model = transformers.AutoModel.from_config(config, attn_implementation=attention)
    except ValueError:
        model = transformers.AutoModel.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, so that none of them can be forgotten
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return Backbone(model.eval(), **settings)


def run(backbone: Backbone, rows: list[list[int]], masks: list[list[int]]) -> Tensor:
    with torch.no_grad():
        return backbone(torch.tensor(rows), torch.tensor(masks))


# -- the equations -----------------------------------------------------------------------------------


def rms(x: Tensor, weight: Tensor, *, add: float = 0.0, eps: float = 1e-6) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * (weight + add)


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary embedding (arXiv 2104.09864), halves paired as Llama's weights expect; x: [heads, length, d]."""
    d = x.shape[-1]
    angle = torch.arange(x.shape[1])[:, None] * theta ** (-torch.arange(0, d, 2) / d)
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, *, scale: float, cap: float | None = None) -> Tensor:
    """softmax(q k' scale) v for [heads, length, d], with grouped keys; returns [length, heads * d]."""
    k, v = (x.repeat_interleave(len(q) // len(x), dim=0) for x in (k, v))
    scores = q @ k.transpose(1, 2) * scale
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    mixed = softmax(scores.masked_fill(~allowed, -math.inf), dim=-1) @ v
    return mixed.transpose(0, 1).flatten(1)


def allowed(length: int, *, causal: bool, window: int | None) -> Tensor:
    i, j = torch.arange(length)[:, None], torch.arange(length)[None]
    near = torch.ones(length, length, dtype=torch.bool) if window is None else (i - j).abs() < window
    return near & (j <= i) if causal else near


def split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)


def rope_decoder(name: str, backbone: Backbone, ids: list[int], unmask_from: int | None) -> Tensor:
    """Llama (arXiv 2302.13971), Mistral, Qwen3 and Gemma 1 to 3, one text, no padding."""
    config, w = backbone.config, dict(backbone.model.named_parameters())
    gemma, later = name.startswith("gemma"), name in {"gemma2", "gemma3"}
    one = 1.0 if gemma else 0.0
    eps = config.rms_norm_eps
    x = w["embed_tokens.weight"][ids] * (math.sqrt(config.hidden_size) if gemma else 1.0)
    for layer in range(config.num_hidden_layers):
        p = f"layers.{layer}."
        kinds = (
            getattr(config, "layer_types", None) or ["sliding_attention" if name == "mistral" else "full_attention"] * 3
        )
        sliding = kinds[layer] == "sliding_attention"
        theta = 10000.0 if sliding or name != "gemma3" else 1_000_000.0
        mask = allowed(len(ids), causal=unmask_from is None or layer < unmask_from, window=WINDOW if sliding else None)
        h = rms(x, w[p + "input_layernorm.weight"], add=one, eps=eps)
        q, k, v = (
            split(h @ w[f"{p}self_attn.{n}_proj.weight"].T, n_heads) for n, n_heads in (("q", 4), ("k", 2), ("v", 2))
        )
        if name in {"qwen3", "gemma3"}:
            q = rms(q, w[p + "self_attn.q_norm.weight"], add=one, eps=eps)
            k = rms(k, w[p + "self_attn.k_norm.weight"], add=one, eps=eps)
        cap = 50.0 if name == "gemma2" else None
        h = (
            attend(rotate(q, theta), rotate(k, theta), v, mask, scale=8**-0.5, cap=cap)
            @ w[p + "self_attn.o_proj.weight"].T
        )
        x = x + (rms(h, w[p + "post_attention_layernorm.weight"], add=one, eps=eps) if later else h)
        before = "pre_feedforward_layernorm.weight" if later else "post_attention_layernorm.weight"
        h = rms(x, w[p + before], add=one, eps=eps)
        gate = h @ w[p + "mlp.gate_proj.weight"].T
        gate = gelu(gate, approximate="tanh") if gemma else silu(gate)
        h = (gate * (h @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        x = x + (rms(h, w[p + "post_feedforward_layernorm.weight"], add=one, eps=eps) if later else h)
    return rms(x, w["norm.weight"], add=one, eps=eps)


def gpt2(_name: str, backbone: Backbone, ids: list[int], unmask_from: int | None) -> Tensor:
    w = dict(backbone.model.named_parameters())

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (32,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["wte.weight"][ids] + w["wpe.weight"][: len(ids)]
    for layer in range(3):
        p = f"h.{layer}."
        q, k, v = (split(part, 4) for part in linear(norm(x, p + "ln_1"), p + "attn.c_attn").chunk(3, dim=-1))
        mask = allowed(len(ids), causal=unmask_from is None or layer < unmask_from, window=None)
        x = x + linear(attend(q, k, v, mask, scale=8**-0.5), p + "attn.c_proj")
        x = x + linear(gelu(linear(norm(x, p + "ln_2"), p + "mlp.c_fc"), approximate="tanh"), p + "mlp.c_proj")
    return norm(x, "ln_f")


def bert(_name: str, backbone: Backbone, ids: list[int], _unmask_from: int | None) -> Tensor:
    """BERT (arXiv 1810.04805): norms after the residual sums."""
    w = dict(backbone.model.named_parameters())

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (32,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-12)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    e = "embeddings."
    x = w[f"{e}word_embeddings.weight"][ids] + w[f"{e}position_embeddings.weight"][: len(ids)]
    x = norm(x + w[f"{e}token_type_embeddings.weight"][0], f"{e}LayerNorm")
    everything = torch.ones(len(ids), len(ids), dtype=torch.bool)
    for layer in range(3):
        p = f"encoder.layer.{layer}."
        q, k, v = (split(linear(x, f"{p}attention.self.{n}"), 4) for n in ("query", "key", "value"))
        mixed = attend(q, k, v, everything, scale=8**-0.5)
        x = norm(x + linear(mixed, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        x = norm(x + linear(gelu(linear(x, p + "intermediate.dense")), p + "output.dense"), p + "output.LayerNorm")
    return x


def deberta_v2(_name: str, backbone: Backbone, ids: list[int], _unmask_from: int | None) -> Tensor:
    """DeBERTa (arXiv 2006.03654, equations 4 and 5) with log buckets and shared projections, as DeBERTa-v3 has them."""
    w = dict(backbone.model.named_parameters())

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (32,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-7)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def bucket(distance: int, size: int = 8, longest: int = 512) -> int:
        middle = size // 2
        if abs(distance) <= middle:
            return distance
        far = math.log(abs(distance) / middle) / math.log((longest - 1) / middle) * (middle - 1)
        return int(math.copysign(math.ceil(far) + middle, distance))

    n = len(ids)
    relative = torch.tensor([[min(max(bucket(i - j) + 8, 0), 15) for j in range(n)] for i in range(n)])
    x = norm(w["embeddings.word_embeddings.weight"][ids], "embeddings.LayerNorm")
    positions = norm(w["encoder.rel_embeddings.weight"], "encoder.LayerNorm")
    for layer in range(3):
        p = f"encoder.layer.{layer}."
        s = p + "attention.self."
        q, k, v = (split(linear(x, f"{s}{kind}_proj"), 4) for kind in ("query", "key", "value"))
        k_r, q_r = split(linear(positions, s + "key_proj"), 4), split(linear(positions, s + "query_proj"), 4)
        content_to_position = (q @ k_r.transpose(1, 2)).gather(2, relative.expand(4, n, n))
        # The paper writes delta(j, i) here; the released code, and so every weight, has delta(i, j).
        position_to_content = (k @ q_r.transpose(1, 2)).gather(2, relative.T.expand(4, n, n)).transpose(1, 2)
        scores = (q @ k.transpose(1, 2) + content_to_position + position_to_content) / math.sqrt(8 * 3)
        mixed = (softmax(scores, dim=-1) @ v).transpose(0, 1).flatten(1)
        x = norm(x + linear(mixed, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        x = norm(x + linear(gelu(linear(x, p + "intermediate.dense")), p + "output.dense"), p + "output.LayerNorm")
    return x


def modernbert(_name: str, backbone: Backbone, ids: list[int], _unmask_from: int | None) -> Tensor:
    """ModernBERT (arXiv 2412.13663): norms before, rotary, gated gelu, windows in all but every n-th layer."""
    w = dict(backbone.model.named_parameters())

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (32,), w[f"{name}.weight"], eps=1e-5)

    x = norm(w["embeddings.tok_embeddings.weight"][ids], "embeddings.norm")
    for layer in range(3):
        p, everywhere = f"layers.{layer}.", layer % 2 == 0
        h = x if layer == 0 else norm(x, p + "attn_norm")
        q, k, v = (split(part, 4) for part in (h @ w[p + "attn.Wqkv.weight"].T).chunk(3, dim=-1))
        theta = 160_000.0 if everywhere else 10_000.0
        mask = allowed(len(ids), causal=False, window=None if everywhere else WINDOW + 1)
        mixed = attend(rotate(q, theta), rotate(k, theta), v, mask, scale=8**-0.5)
        x = x + mixed @ w[p + "attn.Wo.weight"].T
        inner, gate = (norm(x, p + "mlp_norm") @ w[p + "mlp.Wi.weight"].T).chunk(2, dim=-1)
        x = x + (gelu(inner) * gate) @ w[p + "mlp.Wo.weight"].T
    return norm(x, "final_norm")


EQUATIONS: dict[str, Callable[[str, Backbone, list[int], int | None], Tensor]] = {
    **dict.fromkeys(("llama", "mistral", "qwen3", "gemma", "gemma2", "gemma3"), rope_decoder),
    "gpt2": gpt2,
    "bert": bert,
    "deberta_v2": deberta_v2,
    "modernbert": modernbert,
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("unmask_from", [None, 0, 2])
@pytest.mark.parametrize("name", EQUATIONS)
def test_hidden_states_equal_the_equations(name: str, unmask_from: int | None, attention: str) -> None:
    backbone = make(name, attention=attention, unmask_from=unmask_from)
    with torch.no_grad():
        expected = EQUATIONS[name](name, backbone, TEXT, unmask_from)
    torch.testing.assert_close(run(backbone, [TEXT], [[1] * 8])[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "gemma2", "gpt2", "bloom", "gpt_neox"])
def test_unmasking_equals_the_flag_of_transformers(name: str) -> None:
    ours = make(name, unmask_from=0)
    theirs = make(name)
    theirs.config.is_causal = False
    if getattr(theirs.config, "sliding_window", None):
        theirs.config.sliding_window = WINDOW - 1  # its two-sided masks, unlike its kernels, count one more
    for module in theirs.modules():
        if hasattr(module, "is_causal") and isinstance(module, torch.nn.Module) and module is not theirs:
            module.is_causal = False
    padded, mask = [[*TEXT, 0, 0]], [[1] * 8 + [0] * 2]
    torch.testing.assert_close(run(ours, padded, mask)[:, :8], run(theirs, padded, mask)[:, :8], atol=1e-5, rtol=0)


# -- padding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("unmask_from", [None, 0, 1])
@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS])
def test_padding_on_either_side_changes_nothing(name: str, unmask_from: int | None, attention: str) -> None:
    backbone = make(name, attention=attention, unmask_from=unmask_from)
    bare = run(backbone, [TEXT], [[1] * 8])[0]
    for pads in (1, 7, 40):
        left = run(backbone, [[3] * pads + TEXT], [[0] * pads + [1] * 8])[0, pads:]
        right = run(backbone, [TEXT + [3] * pads], [[1] * 8 + [0] * pads])[0, :8]
        torch.testing.assert_close(left, bare, atol=1e-5, rtol=0)
        torch.testing.assert_close(right, bare, atol=1e-5, rtol=0)


@pytest.mark.parametrize("unmask_from", [None, 0])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_a_text_is_the_same_alone_and_among_others(name: str, unmask_from: int | None) -> None:
    backbone = make(name, unmask_from=unmask_from)
    rows = [TEXT, TEXT[:3] + [4] * 5, [4] * 6 + TEXT[:2]]
    masks = [[1] * 8, [1] * 3 + [0] * 5, [0] * 6 + [1] * 2]
    together = run(backbone, rows, masks)
    for row, mask, hidden in zip(rows, masks, together, strict=True):
        bare = [token for token, real in zip(row, mask, strict=True) if real]
        alone = run(backbone, [bare], [[1] * len(bare)])[0]
        torch.testing.assert_close(hidden[torch.tensor(mask).bool()], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_legacy_padding_leaks_as_the_reference_code_does(name: str) -> None:
    """Both behaviours pinned: with zeros for a mask the padded text differs, and equals all tokens attended to."""
    legacy = make(name, unmask_from=0, legacy_padding=True)
    pads = 5
    bare = run(legacy, [TEXT], [[1] * 8])[0]
    leaked = run(legacy, [TEXT + [3] * pads], [[1] * 8 + [0] * pads])[0]
    assert (leaked[:8] - bare).abs().max() > 1e-3
    with torch.no_grad():
        as_if_real = EQUATIONS[name](name, legacy, TEXT + [3] * pads, 0)
    torch.testing.assert_close(leaked, as_if_real, atol=1e-5, rtol=0)
    torch.testing.assert_close(bare, run(make(name, unmask_from=0), [TEXT], [[1] * 8])[0], atol=1e-6, rtol=0)


def test_a_soft_prompt_stands_right_before_the_text_wherever_the_padding_is() -> None:
    backbone = make("llama")
    prefix = torch.randn(4, 32)
    prompt_ids = [7, 8, 9, 10]
    with torch.no_grad():
        hard = backbone(torch.tensor([prompt_ids + TEXT]), torch.ones(1, 12, dtype=torch.long))
        soft = backbone(
            torch.tensor([TEXT]), torch.ones(1, 8, dtype=torch.long), backbone.embedding(torch.tensor(prompt_ids))
        )
        torch.testing.assert_close(soft, hard, atol=1e-6, rtol=0)
        alone = backbone(torch.tensor([TEXT]), torch.ones(1, 8, dtype=torch.long), prefix)
        left = backbone(torch.tensor([[3, 3, *TEXT]]), torch.tensor([[0] * 2 + [1] * 8]), prefix)
    torch.testing.assert_close(left[:, :4], alone[:, :4], atol=1e-5, rtol=0)
    torch.testing.assert_close(left[:, 6:], alone[:, 4:], atol=1e-5, rtol=0)


def test_gradient_checkpointing_runs_the_same_masks_again() -> None:
    plain, frugal = (make("mistral", unmask_from=1).train() for _ in range(2))
    frugal.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids, mask = torch.tensor([TEXT, [*TEXT[:5], 0, 0, 0]]), torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    gradients = []
    for backbone in (plain, frugal):
        first = pool(backbone(ids, mask), mask, "mean").square().sum()
        pool(backbone(ids[:1], mask[:1]), mask[:1], "mean").sum()  # another forward in between
        first.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1])


# -- the rest ----------------------------------------------------------------------------------------


def test_a_mirrored_mask_keeps_windows_and_padding() -> None:
    causal = allowed(5, causal=True, window=2) & torch.tensor([1, 1, 1, 1, 0]).bool()
    mirrored = two_sided(causal[None, None])
    assert mirrored is not None
    expected = allowed(5, causal=False, window=2) & torch.tensor([1, 1, 1, 1, 0]).bool()
    assert torch.equal(mirrored[0, 0], expected)
    additive = torch.zeros(1, 1, 5, 5).masked_fill(~causal, torch.finfo(torch.float32).min)
    assert torch.equal((two_sided(additive) == 0)[0, 0], expected)  # type: ignore[union-attr]
    assert two_sided(None) is None


def test_encoders_are_not_causal_and_decoders_are() -> None:
    assert {name: make(name).is_causal for name in (*DECODERS, *ENCODERS)} == {
        **dict.fromkeys(DECODERS, True),
        **dict.fromkeys(ENCODERS, False),
    }
    assert all(len(find_layers(make(name).model)) == 3 for name in (*DECODERS, *ENCODERS))


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="the model has 3 layers, so it can't be unmasked from layer 3 on"):
        make("llama", unmask_from=3)


def test_a_base_that_is_not_there(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="can't be loaded: .*; give the folder of a transformers model"):
        load_backbone(tmp_path)
