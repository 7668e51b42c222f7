"""What users rely on: the names of ``caffecompat``, pycaffe's names, and the verbs that the pages describe."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import caffecompat
import caffecompat.pycaffe as caffe
from caffecompat.cli.main import VERBS

ROOT = Path(__file__).resolve().parent.parent


def test_the_names_are_these() -> None:
    """Adding a name is a promise, dropping one breaks somebody's script: both change this list too."""
    assert caffecompat.__all__ == [
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


# Changing, moving or dropping one breaks somebody's script as well.
ARGUMENTS = """
ExportOptions: opset target version approx dpu_leaky dpu_dense preprocess mean_picture bake rgb class_names dynamic
    quantized exact
Preprocess: mean scale subtract std
QuantizeSettings: method data_bits weights_bits calib_iter ignore_layers sigmoided_layers special_layers input_blob
    keep_fixed_neuron align_concat as_original
Solver: source path overrides device strict fork weights skip_mismatched epochs cards
    lr_mults freeze_bn amp ranks sync_bn execution
bench_nets: models size batch rounds device scores on_round
build_database: source out root size color encoding which label_map shuffle seed names backend shards augment
    transform skip_bad threads on_progress on_bad
check: model target version size channels fork
classify: model weights pictures preprocess size blob device allow_missing fork amp engine
compare_blobs: first second
compute_image_mean: database out backend threads on_progress
configure_logging:
configure_threads:
convert_annoset: root list_path database anno_type label_type label_map check_label size min_dim max_dim color encoded
    encode_type check_size shuffle seed backend threads on_start on_progress on_bad
convert_imageset: root list_path database size color encoded encode_type check_size shuffle seed backend threads
    on_start on_progress on_bad
convert_weights: source out model map_file accept_guess allow_missing swap_colors adapt_first_layer fork on_note
create_label_map: names out include_background delimiter
deploy_net: model size batch channels head head_name level stages fork
detect: model weights pictures preprocess threshold size device allow_missing fork amp engine
diff_nets: a b phase weights size channels fork
diff_weights: a b
draw_net: model out rankdir phase level stages display_lrm fold fork
draw_page: model out weights phase level stages size channels fork
dump_blobs: model weights out inputs seed size layout allow_missing fork
evaluate_classification: model weights data root iterations batch ks preprocess mean_file size resize short_side
    crop interp blob device allow_missing fork amp engine rgb on_progress
evaluate_detection: model weights data results root which label_map iterations preprocess size device allow_missing
    fork amp engine rgb on_progress
evaluate_net: model weights iterations level stages device skip_mismatched allow_missing fork amp on_batch
evaluate_segmentation: model weights data root iterations preprocess size resize scales flip fit ignore blob device
    allow_missing fork amp engine rgb on_progress
examine_installation:
export_deploy: model weights out size batch channels head head_name merge_batch_norm running_statistics target
    resize_bilinear calibration root_folder allow_nonfinite fork on_note
export_onnx: model weights path options batch size channels cut external allow_nonfinite inputs pictures fork
export_torch: model weights path batch size allow_nonfinite fork
extract_features: model weights datasets batches backend level stages device allow_missing fork on_batch
extract_frames: video out every encoding label on_progress
get_image_size: root list_path out name_id_file on_progress
inspect_database: database limit label_pixels on_progress
list_cityscapes: root out labels relative force on_progress on_skip
list_coco: root out labels relative force on_progress on_skip
list_imagenet: root out devkit relative force on_progress on_skip
list_sbd: root out voc labels relative force on_progress on_skip
list_voc: root out relative force on_progress on_skip
list_voc_segmentation: root out labels relative force on_progress on_skip
list_weights: path stats
live_report: folder resume pictures
load_caffemodel: path
load_net: prototxt weights phase skip_mismatched fork python_layers engine
merge_batch_norm: model weights out_model out_weights running_statistics allow_nonfinite fork
new_network: network folder classes size crop batch train val root_folder labels weights swap_colors measure_mean
    force on_progress
open_caffemodel: path
parse_log: path
plot_logs: logs out x y smooth beside
quantize_net: model weights pictures output_dir settings batch iterations preprocess size info device fork on_iteration
read_net: path strict fork
read_solver: path strict
report_runs: runs out classes palette pictures
save_caffemodel: path net blobs diffs raw fork
segment: model weights pictures preprocess at scales flip fit size blob device allow_missing fork amp engine
sparsify: model weights out_weights target mode limits max_ratio max_value fork
sparsity_curve: model weights data targets modes task names limits max_ratio max_value root preprocess size device
    fork on_progress
split_database: source train val fraction seed on_progress
summarize: model phase weights size channels skip_mismatched strict fork
summarize_weights: path
time_net: model weights phase iterations level stages device fork amp on_start on_iteration
upgrade_net_proto_binary: path out
upgrade_net_proto_text: path out strict
upgrade_solver_proto_text: path out strict
verify_database: database classes ignore_label label_pixels any_size threads on_progress
write_text: message
"""


def test_their_arguments_are_these() -> None:
    arguments = {}
    for line in ARGUMENTS.replace("\n    ", " ").split("\n")[1:-1]:
        name, _, rest = line.partition(":")
        arguments[name] = rest.split()
    known = {name: list(inspect.signature(getattr(caffecompat, name)).parameters) for name in arguments}
    assert known == arguments
    assert set(caffecompat.__all__) - set(arguments) == {"CaffeCompatError", "Net", "pycaffe"}


def test_every_name_is_there_and_documented() -> None:
    for name in caffecompat.__all__:
        assert inspect.getdoc(getattr(caffecompat, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        caffecompat.nonsense  # noqa: B018


def test_what_needs_no_torch_loads_none() -> None:
    names = "read_net write_text load_caffemodel CaffeCompatError configure_logging configure_threads"
    script = (
        f"import sys, caffecompat as c; [getattr(c, n) for n in '{names}'.split()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


def test_pycaffe_has_the_names_of_pycaffe() -> None:
    names = (
        "Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver get_solver NCCL Timer "
        "init_log log set_mode_cpu set_mode_gpu set_device set_random_seed solver_count set_solver_count solver_rank "
        "set_solver_rank set_multiprocess has_nccl Layer layer_type_list __version__ TRAIN TEST Classifier Detector io "
        "layers params NetSpec to_proto net_spec draw coord_map proto.caffe_pb2 pycaffe _caffe classifier detector"
    )
    for name in names.split():
        found: object = caffe
        for part in name.split("."):
            found = getattr(found, part)
        assert found is not None, name


VERB_NAMES = [verb for verbs in VERBS.values() for verb in verbs]


@pytest.mark.parametrize("verb", VERB_NAMES)
def test_every_verb_is_a_module_of_the_same_shape(verb: str) -> None:
    module = importlib.import_module("caffecompat.cli.commands." + verb.replace("-", "_"))
    assert module.HELP and "\n" not in module.HELP and callable(module.add_flags) and callable(module.run)


def test_verbs_of_the_page_are_there() -> None:
    """Each row of its table begins with verbs in code quotes: ``| `train`, `eval segmentation` | ... |``."""
    page = (ROOT / "docs/verbs.md").read_text()
    table = re.search(r"^\| verb \|.*?\n((?:\|.*\n)*)", page, re.MULTILINE)
    assert table
    told = {verb.split()[0] for row in table[1].splitlines() for verb in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert told <= set(VERB_NAMES)
    if told:
        assert set(VERB_NAMES) <= told, "verbs that the page leaves out"


def test_functions_of_the_page_are_there() -> None:
    """Its table of functions, and what its examples call."""
    section = (ROOT / "docs/python.md").read_text()
    rows = re.findall(r"^\| `(\w+)\(.*\| `([\w -]+)`.* \|$", section, re.MULTILINE)
    assert len(rows) > 10
    for function, verb in rows:
        assert function in caffecompat.__all__ and verb.split()[0] in VERB_NAMES
    for name in re.findall(r"caffecompat\.(\w+)", section):
        assert hasattr(caffecompat, name)
