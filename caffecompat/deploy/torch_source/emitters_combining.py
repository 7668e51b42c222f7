"""Emitters of layers that combine values, or move them."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Case, Emitted, emits, make, number


@emits("Eltwise")
def eltwise(c: Case) -> Emitted:
    module, names = c.module, [f"{{{i}}}" for i in range(len(c.bottoms))]
    if module.operation == "MAX":
        text = names[0]
        for name in names[1:]:
            text = f"torch.maximum({text}, {name})"
        return Emitted(call=text)
    if module.operation == "PROD":
        return Emitted(call=" * ".join(names))
    text = ""
    for name, coeff in zip(names, module.coeffs, strict=True):
        sign = ("-" if coeff < 0 else "") if not text else " - " if coeff < 0 else " + "
        text += sign + (name if abs(coeff) == 1 else f"{number(abs(coeff))} * {name}")
    return Emitted(call=text)


@emits("Axpy")
def axpy(c: Case) -> Emitted:
    missing = len(c.bottoms[1]) - len(c.shape)
    factor = f"{{0}}[..., {', '.join(['None'] * missing)}]" if missing else "{0}"
    return Emitted(call=f"torch.addcmul({{2}}, {factor}, {{1}})")


@emits("ArgMax")
def arg_max(c: Case) -> Emitted:
    module = c.module
    if module.axis is not None and module.top_k == 1:
        if module.with_values:
            return Emitted(call=f"{{0}}.amax({module.axis}, keepdim=True)")
        return Emitted(call=f"arg_max({{0}}, {module.axis})", helpers=("arg_max",))
    if module.axis is not None:
        which = 1 if module.with_values else 0
        return Emitted(call=f"largest({{0}}, {module.top_k}, {module.axis})[{which}]", helpers=("largest",))
    found = f"largest({{0}}.flatten(1), {module.top_k}, 1)"
    text = f"torch.stack({found}, 1)" if module.with_values else f"{found}[0][:, None]"
    behind = len(c.shape) - 3
    return Emitted(call=text + (f"[..., {', '.join(['None'] * behind)}]" if behind > 0 else ""), helpers=("largest",))


@emits("Reduction")
def reduction(c: Case) -> Emitted:
    module = c.module
    axes = "" if module.axis == 0 else str(tuple(range(module.axis, len(c.shape))))
    axes = axes.replace(",)", ")")
    text = {
        "MEAN": f"{{0}}.mean({axes})",
        "ASUM": f"{{0}}.abs().sum({axes})",
        "SUMSQ": f"{{0}}.square().sum({axes})",
        "SUM": f"{{0}}.sum({axes})",
    }[module.operation]
    return Emitted(call=text if module.coeff == 1 else f"{number(module.coeff)} * {text}")


@emits("Concat")
def concat(c: Case) -> Emitted:
    names = ", ".join(f"{{{i}}}" for i in range(len(c.bottoms)))
    return Emitted(call=f"torch.cat([{names}], dim={c.module.axis})" if len(c.bottoms) > 1 else "{0}")


@emits("Slice")
def slice_(c: Case) -> Emitted:
    if len(c.tops) == 1:
        return Emitted(call="{0}")
    points = tuple(c.param.slice_param.slice_point)
    if not points:
        return Emitted(call=f"{{0}}.chunk({len(c.tops)}, dim={c.module.axis})")
    return Emitted(call=make("{0}.tensor_split", points, dim=(c.module.axis, None)))


@emits("Split")
def split(c: Case) -> Emitted:
    return Emitted(call="{0}")  # for each top


@emits("Silence")
def silence(c: Case) -> Emitted:
    return Emitted()


@emits("Flatten")
def flatten(c: Case) -> Emitted:
    last = len(c.shape) - 1
    return Emitted(call=f"{{0}}.flatten({c.module.axis}{'' if c.module.end == last else f', {c.module.end}'})")


@emits("Reshape")
def reshape(c: Case) -> Emitted:
    """The prototxt's numbers; sizes that it keeps are the bottom's, and the batch is any where nothing else is."""
    p, shape = c.param.reshape_param, c.shape
    start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    end = len(shape) if p.num_axes == -1 else start + p.num_axes
    dims = [f"{{0}}.shape[{axis}]" for axis in range(start)]
    dims += [f"{{0}}.shape[{start + i}]" if dim == 0 else str(dim) for i, dim in enumerate(p.shape.dim)]
    dims += [f"{{0}}.shape[{axis}]" for axis in range(end, len(shape))]
    if dims and "-1" not in dims and c.tops[0][0] == shape[0]:
        dims[0] = "-1"
    return Emitted(call=f"{{0}}.reshape({', '.join(dims) or '()'})")


@emits("Permute", "Transpose")
def permute(c: Case) -> Emitted:
    return Emitted(call=f"{{0}}.permute({', '.join(map(str, c.module.order))})")


@emits("Flip", "Reverse")
def flip(c: Case) -> Emitted:
    return Emitted(call=f"{{0}}.flip({', '.join(map(str, c.module.axes)) or '[]'})")


@emits("ShuffleChannel")
def shuffle_channel(c: Case) -> Emitted:
    return Emitted(make("nn.ChannelShuffle", c.module.group))


@emits("Tile")
def tile(c: Case) -> Emitted:
    repeats = [str(c.module.tiles if axis == c.module.axis else 1) for axis in range(len(c.shape))]
    return Emitted(call=f"{{0}}.repeat({', '.join(repeats)})")


@emits("AutoCrop", "Crop")
def crop(c: Case) -> Emitted:
    """A slice as long as the second bottom."""
    axis = c.module.axis
    words = [":"] * axis
    for at, offset in enumerate(c.module.offsets, axis):
        length = f"{{1}}.shape[{at}]"
        words.append(f"{offset} : {offset} + {length}" if offset else f": {length}")
    return Emitted(call=f"{{0}}[{', '.join(words)}]")


@emits("BatchReindex")
def batch_reindex(c: Case) -> Emitted:
    return Emitted(call="{0}[{1}.long()]")


@emits("Filter")
def filter_(c: Case) -> Emitted:
    selector = f"{{{len(c.bottoms) - 1}}}.flatten() != 0"
    return Emitted(call=", ".join(f"{{{i}}}[{selector}]" for i in range(len(c.tops))))


@emits("Parameter")
def parameter(c: Case) -> Emitted:
    return Emitted(f"nn.Parameter(torch.zeros{_call(c.tops[0])})", "{self}", {"": c.blobs[0]})


def _call(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
