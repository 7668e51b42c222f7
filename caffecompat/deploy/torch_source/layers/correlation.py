"""Torch source of FlowNet's correlations."""

from __future__ import annotations

from caffecompat.deploy.torch_source.emission import Emitted, LayerView, calling, emits, text_of


@emits("Correlation", "Correlation1D")
def correlation(c: LayerView) -> Emitted:
    m = c.module
    rows, columns = (_steps(places) for places in m.rules.displacements)
    call = calling(
        "correlate", "{0}", "{1}", f"({rows}, {columns})",
        *map(text_of, (m.rules.kernel, m.rules.stride, m.rules.margin)),
        pad=(m.pad, (0, 0)), subtract=(m.subtract, False),
    )  # fmt: skip
    return Emitted(call=call)


def _steps(places: tuple[int, ...]) -> str:
    """Places at equal distances."""
    if len(places) == 1:
        return text_of(places)
    step = places[1] - places[0]
    return f"range({places[0]}, {places[-1] + 1}{f', {step}' if step != 1 else ''})"
