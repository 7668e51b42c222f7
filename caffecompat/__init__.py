"""Caffe's files and nets on PyTorch: read them, train them under Caffe's rules, write them back.

The names below are what users may rely on: a function for everything that the command line's verbs do, whose settings
are the verbs' flags. They are imported when first used, so ``import caffecompat`` is instant and what needs no torch
never loads it; nothing is changed outside of the package (`configure_threads` and `configure_logging` do that). All
else is private.

Nets are given as paths of prototxts or as what `read_net` returns, sizes as (height, width), arrays as Caffe has them:
float32, (N, C, H, W), pictures in B, G, R order. What a user can fix is a `CaffeCompatError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caffecompat import pycaffe
    from caffecompat.data.convert import convert_annoset, convert_imageset
    from caffecompat.data.database_checks import inspect_database, verify_database
    from caffecompat.data.database_plan import build_database
    from caffecompat.data.image_sizes import get_image_size
    from caffecompat.data.lists.cityscapes import list_cityscapes
    from caffecompat.data.lists.coco import list_coco
    from caffecompat.data.lists.imagenet import list_imagenet
    from caffecompat.data.lists.sbd import list_sbd
    from caffecompat.data.lists.voc import list_voc
    from caffecompat.data.lists.voc_segmentation import list_voc_segmentation
    from caffecompat.data.mean_image import compute_image_mean
    from caffecompat.data.preprocess import Preprocess
    from caffecompat.data.split import split_database
    from caffecompat.data.video_frames import extract_frames
    from caffecompat.deploy.convert_weights import convert_weights
    from caffecompat.deploy.deploy_net import deploy_net
    from caffecompat.deploy.export_deploy import export_deploy
    from caffecompat.deploy.inference.loading import load_net
    from caffecompat.deploy.merge import merge_batch_norm
    from caffecompat.deploy.onnx.export import ExportOptions
    from caffecompat.deploy.onnx.write import export_onnx
    from caffecompat.deploy.targets.check import check
    from caffecompat.deploy.torch_source.write import export_torch
    from caffecompat.errors import CaffeCompatError
    from caffecompat.evaluate.classification import evaluate_classification
    from caffecompat.evaluate.detection import evaluate_detection
    from caffecompat.evaluate.features import extract_features
    from caffecompat.evaluate.net_scores import evaluate_net
    from caffecompat.evaluate.pictures import classify, detect, segment
    from caffecompat.evaluate.segmentation import evaluate_segmentation
    from caffecompat.formats import load_caffemodel, open_caffemodel, save_caffemodel
    from caffecompat.formats.inventory import list_weights, summarize_weights
    from caffecompat.formats.label_map import create_label_map
    from caffecompat.formats.upgrades import upgrade_net_proto_binary, upgrade_net_proto_text, upgrade_solver_proto_text
    from caffecompat.glog import configure_logging
    from caffecompat.installation import examine_installation
    from caffecompat.net import Net
    from caffecompat.net.dump import dump_blobs
    from caffecompat.quantize.from_pictures import quantize_net
    from caffecompat.quantize.settings import QuantizeSettings
    from caffecompat.quantize.sparsify import sparsify
    from caffecompat.report.blob_differences import compare_blobs, diff_weights
    from caffecompat.report.live_report import live_report
    from caffecompat.report.log_parser import parse_log
    from caffecompat.report.net_bench import bench_nets
    from caffecompat.report.net_diff import diff_nets
    from caffecompat.report.net_drawing import draw_net
    from caffecompat.report.net_page import draw_page
    from caffecompat.report.net_summary import summarize
    from caffecompat.report.net_timing import time_net
    from caffecompat.report.run_report import report_runs
    from caffecompat.report.sparsity_curve import sparsity_curve
    from caffecompat.report.training_curve import plot_logs
    from caffecompat.schema import read_net, read_solver, write_text
    from caffecompat.solver import Solver
    from caffecompat.threads import configure_threads
    from caffecompat.zoo.new_network import new_network

__version__ = "0.1.0"

__all__ = [
    "CaffeCompatError",
    "ExportOptions",
    "Net",
    "Preprocess",
    "QuantizeSettings",
    "Solver",
    "bench_nets",
    "build_database",
    "check",
    "classify",
    "compare_blobs",
    "compute_image_mean",
    "configure_logging",
    "configure_threads",
    "convert_annoset",
    "convert_imageset",
    "convert_weights",
    "create_label_map",
    "deploy_net",
    "detect",
    "diff_nets",
    "diff_weights",
    "draw_net",
    "draw_page",
    "dump_blobs",
    "evaluate_classification",
    "evaluate_detection",
    "evaluate_net",
    "evaluate_segmentation",
    "examine_installation",
    "export_deploy",
    "export_onnx",
    "export_torch",
    "extract_features",
    "extract_frames",
    "get_image_size",
    "inspect_database",
    "list_cityscapes",
    "list_coco",
    "list_imagenet",
    "list_sbd",
    "list_voc",
    "list_voc_segmentation",
    "list_weights",
    "live_report",
    "load_caffemodel",
    "load_net",
    "merge_batch_norm",
    "new_network",
    "open_caffemodel",
    "parse_log",
    "plot_logs",
    "pycaffe",
    "quantize_net",
    "read_net",
    "read_solver",
    "report_runs",
    "save_caffemodel",
    "segment",
    "sparsify",
    "sparsity_curve",
    "split_database",
    "summarize",
    "summarize_weights",
    "time_net",
    "upgrade_net_proto_binary",
    "upgrade_net_proto_text",
    "upgrade_solver_proto_text",
    "verify_database",
    "write_text",
]

_HOMES = {
    "CaffeCompatError": "caffecompat.errors",
    "ExportOptions": "caffecompat.deploy.onnx.export",
    "Net": "caffecompat.net",
    "Preprocess": "caffecompat.data.preprocess",
    "QuantizeSettings": "caffecompat.quantize.settings",
    "Solver": "caffecompat.solver",
    "bench_nets": "caffecompat.report.net_bench",
    "build_database": "caffecompat.data.database_plan",
    "check": "caffecompat.deploy.targets.check",
    "classify": "caffecompat.evaluate.pictures",
    "compare_blobs": "caffecompat.report.blob_differences",
    "compute_image_mean": "caffecompat.data.mean_image",
    "configure_logging": "caffecompat.glog",
    "configure_threads": "caffecompat.threads",
    "convert_annoset": "caffecompat.data.convert",
    "convert_imageset": "caffecompat.data.convert",
    "convert_weights": "caffecompat.deploy.convert_weights",
    "create_label_map": "caffecompat.formats.label_map",
    "deploy_net": "caffecompat.deploy.deploy_net",
    "detect": "caffecompat.evaluate.pictures",
    "diff_nets": "caffecompat.report.net_diff",
    "diff_weights": "caffecompat.report.blob_differences",
    "draw_net": "caffecompat.report.net_drawing",
    "draw_page": "caffecompat.report.net_page",
    "dump_blobs": "caffecompat.net.dump",
    "evaluate_classification": "caffecompat.evaluate.classification",
    "evaluate_detection": "caffecompat.evaluate.detection",
    "evaluate_net": "caffecompat.evaluate.net_scores",
    "evaluate_segmentation": "caffecompat.evaluate.segmentation",
    "examine_installation": "caffecompat.installation",
    "export_deploy": "caffecompat.deploy.export_deploy",
    "export_onnx": "caffecompat.deploy.onnx.write",
    "export_torch": "caffecompat.deploy.torch_source.write",
    "extract_features": "caffecompat.evaluate.features",
    "extract_frames": "caffecompat.data.video_frames",
    "get_image_size": "caffecompat.data.image_sizes",
    "inspect_database": "caffecompat.data.database_checks",
    "list_cityscapes": "caffecompat.data.lists.cityscapes",
    "list_coco": "caffecompat.data.lists.coco",
    "list_imagenet": "caffecompat.data.lists.imagenet",
    "list_sbd": "caffecompat.data.lists.sbd",
    "list_voc": "caffecompat.data.lists.voc",
    "list_voc_segmentation": "caffecompat.data.lists.voc_segmentation",
    "list_weights": "caffecompat.formats.inventory",
    "live_report": "caffecompat.report.live_report",
    "load_caffemodel": "caffecompat.formats",
    "load_net": "caffecompat.deploy.inference.loading",
    "merge_batch_norm": "caffecompat.deploy.merge",
    "new_network": "caffecompat.zoo.new_network",
    "open_caffemodel": "caffecompat.formats",
    "parse_log": "caffecompat.report.log_parser",
    "plot_logs": "caffecompat.report.training_curve",
    "quantize_net": "caffecompat.quantize.from_pictures",
    "read_net": "caffecompat.schema",
    "read_solver": "caffecompat.schema",
    "report_runs": "caffecompat.report.run_report",
    "save_caffemodel": "caffecompat.formats",
    "segment": "caffecompat.evaluate.pictures",
    "sparsify": "caffecompat.quantize.sparsify",
    "sparsity_curve": "caffecompat.report.sparsity_curve",
    "split_database": "caffecompat.data.split",
    "summarize": "caffecompat.report.net_summary",
    "summarize_weights": "caffecompat.formats.inventory",
    "time_net": "caffecompat.report.net_timing",
    "upgrade_net_proto_binary": "caffecompat.formats.upgrades",
    "upgrade_net_proto_text": "caffecompat.formats.upgrades",
    "upgrade_solver_proto_text": "caffecompat.formats.upgrades",
    "verify_database": "caffecompat.data.database_checks",
    "write_text": "caffecompat.schema",
}


def __getattr__(name: str) -> Any:
    if name == "pycaffe":
        return importlib.import_module("caffecompat.pycaffe")
    if name not in _HOMES:
        raise AttributeError(f"module 'caffecompat' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
