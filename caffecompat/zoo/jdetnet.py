"""Texas Instruments' JDetNet: SSD on JacintoNet11, with the layer names of caffe-jacinto-models."""

from __future__ import annotations

from caffecompat.pycaffe.model_libs import CreateMultiBoxHead
from caffecompat.pycaffe.net_spec import NetSpec, Top
from caffecompat.pycaffe.net_spec import layers as L
from caffecompat.pycaffe.net_spec import params as P
from caffecompat.zoo import ssd
from caffecompat.zoo.jacinto import SOURCE, add_body, add_conv
from caffecompat.zoo.network import Network, Recipe, Stage

__all__ = ["NETWORKS"]

_PARTS = (0.04, 0.1, 0.3, 0.5, 0.7, 0.9)  # sides of the prior boxes, of 1.15 times the picture's shorter side
_RATIOS = ([2], [2, 3], [2, 3], [2, 3], [2])


def _body(n: NetSpec, data: Top, recipe: Recipe) -> tuple[Top, ...]:
    """Five heads, of a sixteenth of the picture, a 32nd, and three poolings below that."""
    blob = add_body(n, data)
    sources = [n["res4a_branch2b/relu"], blob]
    for number in (6, 7, 8):
        n[f"pool{number}"] = blob = L.Pooling(blob, pool=P.Pooling.MAX, kernel_size=2, stride=2)
        sources.append(blob)
    for number, source in enumerate(sources, 1):
        add_conv(n, source, f"ctx_output{number}", 256, 1)
    sides = [round(part * 1.15 * min(recipe.width, recipe.height), 2) for part in _PARTS]
    before = set(n.keys())
    made = CreateMultiBoxHead(
        n,
        num_classes=recipe.classes,
        from_layers=[f"ctx_output{number}/relu" for number in range(1, len(sources) + 1)],
        use_batchnorm=False,
        min_sizes=sides[:-1],
        max_sizes=sides[1:],
        aspect_ratios=_RATIOS,
        prior_variance=ssd.VARIANCE,
        clip=False,
    )
    for name in n.keys():  # noqa: SIM118 -- NetSpec is no mapping
        if name not in before and name.endswith(("_loc", "_conf")) and name.startswith("ctx"):
            n.update(name, {"weight_filler": {"type": "msra"}})
    return tuple(made)


_NOTES = f"""\
The solver is TI's first stage: 120,000 iterations by 2 x 16 pictures, from JacintoNet11's ImageNet weights
(`--weights`). TI's mean average precision on VOC 2007's test pictures is 0.528 (11point); trained on under an L1 decay
it is 0.536, and 0.510 sparse.

{ssd.VOC_NOTES}\
"""

NETWORKS = (
    Network(
        name="jdetnet",
        task="detection",
        title="JDetNet",
        about=(
            "TI's JDetNet, SSD on JacintoNet11, for the 20 classes of Pascal VOC and the background, of 768x320 "
            "pixels. Layer names are those of TI's weights, which load by name."
        ),
        source=SOURCE,
        pictures=ssd.PICTURES,
        recipe=Recipe(
            classes=21, width=768, height=320, train=ssd.TRAIN, val=ssd.VAL, batch_size=16, iter_size=2,
            test_batch_size=8, max_iter=120_000, base_lr=0.01, test_iter=619, test_interval=2000, snapshot=2000,
            display=100, label_map="data/labelmap.prototxt",
        ),
        solver=lambda recipe: ssd.solver((recipe.max_iter / 2, recipe.max_iter * 3 / 4), 0.0001),
        transforms=ssd.transforms,
        stages=(Stage(_body, parameters=3_121_450, macs=2_130_029_568),),
        detector=ssd.DETECTOR,
        notes=_NOTES,
    ),
)  # fmt: skip
