"""Modules of a Llama-like model with a LoRA, computed with fewer and cheaper operations; the results are the same.

Each replacement is an autograd function whose backward pass is written out, so that nothing is computed twice, cast
twice or kept in memory without need. A module is replaced only where its own forward pass gives the same on random
input: an unknown kind of norm or MLP simply stays as it is.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from executor.train import attention
from executor.train.flat import FlatParameters

_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""layers of a block that read the same input"""
_TRIAL = (1, 5)
"""batch and tokens of the random input on which a replacement must agree"""


def quicken(model: Any) -> FlatParameters:
    """Replace what can be replaced in `model` (a PeftModel or a whole model), in place; the parameters to train.

    The model is to be trained through them: parameters become views, gradients are added to in place.
    """
    if has_plain_attention(model.config):
        model.set_attn_implementation(attention.NAME)
    for module in model.modules():
        if hasattr(module, "head_dim") and hasattr(module, "q_proj"):
            _replace_attention(module)
        elif type(module).__name__.endswith("RMSNorm"):
            _replace(module, _norm_forward, getattr(module, "weight", None))
        elif all(isinstance(getattr(module, name, None), nn.Module) for name in ("gate_proj", "up_proj", "down_proj")):
            _replace(module, _mlp_forward, getattr(module.gate_proj, "weight", None))
    groups = [group for module in model.modules() for names in _SIBLINGS if (group := _plain(module, names))]
    paired = [
        [getattr(module, kind)[module.active_adapters[0]].weight for module in group]
        for group in groups
        for kind in ("lora_A", "lora_B")
    ]
    ordered = {id(parameter): parameter for pair in paired for parameter in pair}
    ordered |= {id(parameter): parameter for parameter in model.parameters() if parameter.requires_grad}
    flat = FlatParameters(list(ordered.values()))
    if groups:
        dtype = groups[0][0].base_layer.weight.dtype
        model.register_forward_pre_hook(lambda *_: flat.refresh(dtype))
    for group in groups:
        _Siblings(group, flat)
    return flat


def has_plain_attention(config: Any) -> bool:
    """Whether every layer computes softmax(q k^T * scale) v over all that came before.

    transformers chooses `sdpa` only where that formula holds (no soft cap, no sinks); windows hide what is far away.
    """
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    layers = set(getattr(config, "layer_types", None) or ())
    dropped = getattr(config, "attention_dropout", 0)
    return not dropped and config._attn_implementation == "sdpa" and not windowed and layers <= {"full_attention"}


def _plain(module: Any, names: tuple[str, ...]) -> list[Any]:
    found = [getattr(module, name, None) for name in names]
    return [each for each in found if isinstance(each, LoraLinear) and is_plain(each)]


def _replace(module: Any, make: Any, like: Tensor | None) -> None:
    """Use `make(module)` as the forward pass if it agrees with the module's own."""
    if like is None or not like.is_floating_point():
        return
    trial = torch.randn(*_TRIAL, like.shape[-1], generator=torch.Generator().manual_seed(0))
    trial = trial.to(like.device, like.dtype)
    try:
        with torch.no_grad():
            ours = make(module)
            close = torch.allclose(ours(trial), module(trial), rtol=2e-2, atol=1e-3 + 2e-2 * float(like.abs().max()))
    except (AttributeError, RuntimeError, TypeError):
        return
    if close:
        module.forward = ours


def _replace_attention(module: Any) -> None:
    """Use `_attention_forward` where it agrees with the module's own way on a prefix and two suffixes."""
    if getattr(getattr(module, "config", None), "_attn_implementation", None) != attention.NAME:
        return
    weight = module.q_proj.weight
    generator = torch.Generator().manual_seed(0)
    dtype = weight.dtype if weight.is_floating_point() else torch.bfloat16
    layout = attention.Layout.of(2, [3, 2], 1, dtype).to(weight.device)
    angles = torch.rand(1, 8, module.head_dim // 2, generator=generator).repeat(1, 1, 2).to(weight.device)
    trial = torch.randn(1, 8, module.config.hidden_size, generator=generator).to(weight.device, dtype)
    turn = angles.cos().to(dtype), angles.sin().to(dtype)
    ours = _attention_forward(module, module.forward)
    try:
        with torch.no_grad(), attention.laid_out(layout):
            one, other = (f(trial, position_embeddings=turn, attention_mask=None)[0] for f in (ours, module.forward))
    except (AttributeError, RuntimeError, TypeError):
        return
    if torch.allclose(one, other, rtol=2e-2, atol=2e-2 * float(other.abs().max())):
        module.forward = ours


def _attention_forward(module: Any, original: Any) -> Any:
    """Positions are turned inside the attention over blocks; an ordinary batch goes the module's own way."""

    def forward(
        hidden_states: Tensor, position_embeddings: Any = None, attention_mask: Any = None, **options: Any
    ) -> tuple[Tensor, None]:
        layout, width = attention.current(), module.head_dim
        if layout is None or position_embeddings is None or position_embeddings[0].shape[-1] != width:
            found: tuple[Tensor, None] = original(
                hidden_states, position_embeddings=position_embeddings, attention_mask=attention_mask, **options
            )
            return found
        parts = (getattr(module, name)(hidden_states) for name in ("q_proj", "k_proj", "v_proj"))
        q, k, v = (part.view(part.shape[1], -1, width) for part in parts)  # one sequence: see Layout
        turn = tuple(x.to(v.dtype) for x in position_embeddings)
        out = attention.by_blocks(q, k, v, turn, layout, module.scaling)
        return module.o_proj(out.flatten(1)[None]), None

    return forward


def is_plain(module: LoraLinear) -> bool:
    """One adapter on an ordinary linear layer, without dropout, DoRA, bias or merging."""
    names = module.active_adapters
    if len(names) != 1 or module.merged or module.lora_variant or type(module.base_layer) is not nn.Linear:
        return False
    dropout, (name,) = module.lora_dropout[names[0]], names
    without_bias = module.lora_A[name].bias is None and module.lora_B[name].bias is None
    return without_bias and (isinstance(dropout, nn.Identity) or getattr(dropout, "p", 1) == 0)


class _Siblings:
    """Adapted layers that read the same input, one after another: the first call computes them all."""

    def __init__(self, modules: list[Any], flat: FlatParameters) -> None:
        names = [module.active_adapters[0] for module in modules]
        pairs = list(zip(modules, names, strict=True))
        self.weights = [module.base_layer.weight for module in modules]
        self.biases = [module.base_layer.bias for module in modules]
        self.low = [module.lora_A[name].weight for module, name in pairs]
        self.up = [module.lora_B[name].weight for module, name in pairs]
        self.scales = [module.scaling[name] for module, name in pairs]
        self.ranks = [weight.shape[0] for weight in self.low]
        self.flat = flat
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}
        for place, module in enumerate(modules):
            module.forward = self._forward(place, module, module.forward)

    def _forward(self, place: int, module: Any, original: Any) -> Any:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if module.disable_adapters or module.merged:
                return original(x, *args, **kwargs)  # type: ignore[no-any-return]
            if self._input is not x or place not in self._outputs:
                computed = _Lora.apply(x, self.low[0], self)
                self._outputs, self._input = dict(enumerate(computed)), x
            out = self._outputs.pop(place)
            if not self._outputs:
                self._input = None
            return out

        return forward


class _Lora(torch.autograd.Function):
    """y_i = x W_i^T + bias_i + scale_i (x A_i^T) B_i^T for all siblings i, W frozen.

    A and B (float32) are rounded to the type of x, as autocast does. Their gradients are added to the flat tensor of
    gradients; of the parameters, the function is given one so that autograd knows that there is something to learn.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: Tensor, siblings: _Siblings) -> tuple[Tensor, ...]:
        s, flat = siblings, x.flatten(0, -2)
        down = s.flat.rounded(s.low, (-1, x.shape[-1]))
        ups = [s.flat.rounded([b], b.shape) for b in s.up]
        inner = flat @ down.T
        outs = []
        for weight, bias, b, own, scale in zip(
            s.weights, s.biases, ups, inner.split(s.ranks, 1), s.scales, strict=True
        ):
            out = torch.nn.functional.linear(flat, weight, bias)
            outs.append(out.addmm_(own, b.T, alpha=scale).view(*x.shape[:-1], -1))
        ctx.save_for_backward(flat, inner, down, *ups)
        ctx.siblings, ctx.shape, ctx.needs_x = s, x.shape, x.requires_grad
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        flat, inner, down, *ups = ctx.saved_tensors
        s: _Siblings = ctx.siblings
        g = [grad.flatten(0, -2) for grad in grads]
        through = [
            each @ b if scale == 1 else (each @ b).mul_(scale) for each, b, scale in zip(g, ups, s.scales, strict=True)
        ]
        g_inner = torch.cat(through, dim=1) if len(g) > 1 else through[0]
        s.flat.gradients(s.low, down.shape).add_(g_inner.T @ flat)
        for each, own, b, scale in zip(g, inner.split(s.ranks, 1), s.up, s.scales, strict=True):
            s.flat.gradients([b], b.shape).add_(each.T @ own, alpha=scale)
        if not ctx.needs_x:
            return None, None, None
        d_x = g_inner @ down
        for each, weight in zip(g, s.weights, strict=True):
            d_x.addmm_(each, weight)
        return d_x.view(ctx.shape), None, None


def _norm_forward(module: Any) -> Any:
    def forward(x: Tensor) -> Tensor:
        out: Tensor = _Norm.apply(x, module.weight, module.variance_epsilon)
        return out

    return forward


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019), the mean in float32; weight frozen or trained."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        inverse = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        normal = wide.mul(inverse).to(x.dtype)
        ctx.save_for_backward(normal, inverse, weight)
        return weight * normal

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        normal, inverse, weight = ctx.saved_tensors
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = (grad.to(inverse.dtype) * normal).flatten(0, -2).sum(0).to(weight.dtype)
        g = (grad * weight).to(normal.dtype)
        along = (g * normal).mean(-1, keepdim=True, dtype=inverse.dtype).to(normal.dtype)
        return torch.addcmul(g, normal, along, value=-1).mul_(inverse), d_weight, None


def _mlp_forward(module: Any) -> Any:
    def forward(x: Tensor) -> Tensor:
        gated: Tensor = _SiluTimes.apply(module.gate_proj(x), module.up_proj(x))
        return module.down_proj(gated)  # type: ignore[no-any-return]

    return forward


class _SiluTimes(torch.autograd.Function):
    """silu(gate) * up, keeping only its two inputs."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), torch.nn.functional.silu(gate).mul_(grad)
