"""Torch source of Embed."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make, parameters


@emits("Embed")
def embed(c: LayerView) -> Emitted:
    if len(c.blobs) == 1:
        state = {"weight": c.blobs[0]}
        return Emitted(make("nn.Embedding", *c.blobs[0].shape), "{self}({0}.long())", state, tuple(state))
    state = dict(zip(("weight", "bias"), c.blobs, strict=True))
    call = 'F.embedding({0}.long(), {self}["weight"]) + {self}["bias"]'
    return Emitted(parameters(state), call, state, tuple(state))
