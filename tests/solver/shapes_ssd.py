"""A small SSD for the drawn shapes of `caffecompat.data.shapes`, 160 x 120 pixels, three classes."""

from __future__ import annotations

from pathlib import Path

from caffecompat.cli.main import main
from caffecompat.data.shapes import write_shapes

# channels and stride of each convolution; heads stand on the fifth (stride 8) and the seventh (stride 16)
_LAYERS = ((16, 2), (24, 2), (48, 2), (48, 1), (48, 1), (64, 2), (64, 1))
_HEADS = (("conv5", 24, 42), ("conv7", 42, 72))

_DATA = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
  data_param { source: "db_%s" backend: LMDB batch_size: %d }
  transform_param { mean_value: 110 scale: 0.015 mirror: %s emit_constraint { emit_type: CENTER }
    resize_param { prob: 1 resize_mode: WARP height: 120 width: 160 interp_mode: LINEAR } }
  annotated_data_param { label_map_file: "shapes/labelmap.prototxt" %s } }
"""
_SAMPLERS = """
  batch_sampler { max_sample: 1 max_trials: 1 }
  batch_sampler { max_sample: 1 max_trials: 20 sample_constraint { min_jaccard_overlap: 0.5 }
    sampler { min_scale: 0.5 max_scale: 1.0 min_aspect_ratio: 0.7 max_aspect_ratio: 1.4 } }
"""
_OUTPUT = """
layer { name: "reshape" type: "Reshape" bottom: "conf" top: "reshape" reshape_param { shape { dim: [0, -1, 4] } } }
layer { name: "softmax" type: "Softmax" bottom: "reshape" top: "softmax" softmax_param { axis: 2 } }
layer { name: "flat" type: "Flatten" bottom: "softmax" top: "flat" }
layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "flat" bottom: "prior" top: "found"
  detection_output_param { num_classes: 4 code_type: CENTER_SIZE keep_top_k: 50 confidence_threshold: 0.01
    nms_param { nms_threshold: 0.45 top_k: 100 }
    save_output_param { output_directory: "saved" output_name_prefix: "found" output_format: "COCO"
      label_map_file: "shapes/labelmap.prototxt" name_size_file: "shapes/test_name_size.txt" } } }
layer { name: "detection_eval" type: "DetectionEvaluate" bottom: "found" bottom: "label" top: "detection_eval"
  detection_evaluate_param { num_classes: 4 evaluate_difficult_gt: false name_size_file: "shapes/test_name_size.txt" } }
"""
_LOSS = """
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior" bottom: "label" top: "loss"
  multibox_loss_param { num_classes: 4 code_type: CENTER_SIZE } }
"""
_SOLVER = """
train_net: "train.prototxt" test_net: "test.prototxt" test_iter: 5 test_interval: 1000 test_initialization: false
base_lr: 0.003 lr_policy: "multistep" gamma: 0.2 stepvalue: 220 stepvalue: 260 momentum: 0.9 momentum2: 0.999
type: "Adam" max_iter: 280 display: 0 snapshot_after_train: false snapshot_prefix: "ssd" random_seed: 1
eval_type: "detection" ap_version: "11point"
"""


def _body() -> str:
    lines, bottom = [], "data"
    for number, (channels, stride) in enumerate(_LAYERS, 1):
        top = f"conv{number}"
        lines.append(
            f'layer {{ name: "{top}" type: "Convolution" bottom: "{bottom}" top: "{top}" convolution_param {{ '
            f"num_output: {channels} kernel_size: 3 pad: 1 stride: {stride} bias_term: false "
            f'weight_filler {{ type: "msra" }} }} }}'
        )
        for kind, text in (("BatchNorm", ""), ("Scale", "scale_param { bias_term: true }"), ("ReLU", "")):
            lines.append(f'layer {{ name: "{top}_{kind}" type: "{kind}" bottom: "{top}" top: "{top}" {text} }}')
        bottom = top
    for source, small, large in _HEADS:
        for kind in ("loc", "conf"):
            name = f"{source}_{kind}"
            lines.append(
                f'layer {{ name: "{name}" type: "Convolution" bottom: "{source}" top: "{name}" convolution_param {{ '
                f'num_output: 16 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}\n'
                f'layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm" '
                f"permute_param {{ order: [0, 2, 3, 1] }} }}\n"
                f'layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat" }}'
            )
        lines.append(
            f'layer {{ name: "{source}_prior" type: "PriorBox" bottom: "{source}" bottom: "data" top: "{source}_prior" '
            f"prior_box_param {{ min_size: {small} max_size: {large} aspect_ratio: 1.5 "
            f"variance: [0.1, 0.1, 0.2, 0.2] }} }}"
        )
    for kind, ending, axis in (("loc", "_loc_flat", 1), ("conf", "_conf_flat", 1), ("prior", "_prior", 2)):
        bottoms = " ".join(f'bottom: "{source}{ending}"' for source, _, _ in _HEADS)
        lines.append(
            f'layer {{ name: "{kind}" type: "Concat" {bottoms} top: "{kind}" concat_param {{ axis: {axis} }} }}'
        )
    return "\n".join(lines)


def write_training(train: int = 300, test: int = 50) -> None:
    """Draw the set, make its databases as SSD's users do, and write solver and nets, all in the current folder."""
    write_shapes(Path("shapes"), {"train": train, "test": test})
    for name in ("train", "test"):
        flags = ("--anno_type=detection", "--label_map_file=shapes/labelmap.prototxt", "--encoded", "--encode_type=jpg")
        assert main(["convert_annoset", *flags, "shapes/", f"shapes/{name}.txt", f"db_{name}"]) == 0
    Path("train.prototxt").write_text(_DATA % ("train", 8, "true", _SAMPLERS) + _body() + _LOSS)
    Path("test.prototxt").write_text(_DATA % ("test", 10, "false", "") + _body() + _OUTPUT)
    Path("solver.prototxt").write_text(_SOLVER)
