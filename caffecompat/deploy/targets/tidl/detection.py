"""SSD's detections as TIDL's meta-architecture gives them."""

from __future__ import annotations

import numpy as np

from caffecompat.deploy.onnx.graph import Output
from caffecompat.deploy.targets.graph_pass import GraphPass, Site

__all__ = ["ThreeOutputs"]


class ThreeOutputs(GraphPass):
    """The rows [image, class, score, corners] become three outputs: boxes, labels and scores."""

    operators = frozenset({"Reshape"})

    def visit(self, site: Site) -> None:
        top = site.node.output[0]
        place = next((at for at, output in enumerate(site.graph.outputs) if output.name == top), None)
        if place is None or not site.module.decodes_priors:
            return
        # The top is cut out of the rows joined with those that there are where nothing is found.
        taken = site.maker(site.node.input[0])
        joined = site.maker(taken.input[0]) if taken is not None else None
        if joined is None or joined.op_type != "Concat":
            return
        rows, whole = joined.input[0], site.graph.outputs[place]
        e = site.replace()
        e.op("Slice", rows, e.ints([3]), e.ints([7]), e.ints([1]), to=f"{top}_boxes")
        label = e.reshape(e.slice(rows, [1], [2], [1]), (-1,))
        e.cast(label, np.int64, to=f"{top}_labels")
        e.reshape(e.slice(rows, [2], [3], [1]), (-1,), f"{top}_scores")
        site.graph.outputs[place : place + 1] = [
            Output(f"{top}_boxes", whole.blob, ("detections", 4), (3, 4, 5, 6)),
            Output(f"{top}_labels", whole.blob, ("detections",), (1,), np.int64),
            Output(f"{top}_scores", whole.blob, ("detections",), (2,)),
        ]
