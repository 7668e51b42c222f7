"""Torch source of Embed."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, emits, make


@emits("Embed")
def embed(c: LayerView) -> Emitted:
    names = ("weight", "bias")[: len(c.blobs)]
    kind, helpers = ("nn.Embedding", ()) if len(c.blobs) == 1 else ("BiasedEmbedding", ("BiasedEmbedding",))
    state = dict(zip(names, c.blobs, strict=True))
    return Emitted(make(kind, *c.blobs[0].shape), "{self}({0}.long())", state, names, helpers)
