"""One small world of files that belong together: nets, solvers, weights, snapshots, data, logs, traces, videos.

It is made once a run, by our own writers and of the recorded files of ``tests/golden``; the seeds of nets and of the
command line's verbs are taken from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

__all__ = ["GOLDEN", "silent", "take", "world", "write_command"]

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"

_INPUT = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
"""
_CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}"
  param {{ lr_mult: 1 }} param {{ lr_mult: 2 }}
  convolution_param {{ num_output: {2} kernel_size: {3} pad: {4} weight_filler {{ type: "xavier" }} }} }}
"""
_BODY = (
    _CONV.format("conv", "data", 4, 3, 1)
    + 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }\n'
    + 'layer { name: "sc" type: "Scale" bottom: "bn" top: "sc" scale_param { bias_term: true } }\n'
    + 'layer { name: "relu" type: "ReLU" bottom: "sc" top: "sc" }\n'
    + _CONV.format("fc", "sc", 3, 1, 0)
)
_POOL = (
    'layer { name: "pool" type: "Pooling" bottom: "fc" top: "out" pooling_param { pool: AVE global_pooling: true } }\n'
)
_SOFTMAX = 'layer { name: "prob" type: "Softmax" bottom: "out" top: "prob" }\n'
_LOSS = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "out" bottom: "label" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "out" bottom: "label" top: "acc" include { phase: TEST } }
"""
_LISTED = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { mirror: true mean_value: 104 }
  image_data_param { source: "list.txt" batch_size: 2 new_height: 8 new_width: 8 shuffle: true } }
"""
_STORED = """layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { mean_file: "mean.binaryproto" scale: 0.1 }
  data_param { source: "db" batch_size: 2 backend: LMDB } }
"""
_FILMED = """layer { name: "data" type: "VideoData" top: "data" top: "label"
  data_param { batch_size: 2 } video_data_param { video_type: VIDEO video_file: "film.avi" } }
"""
_FED = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "h5.txt" batch_size: 2 } }
"""
_SOLVER = """net: "train_val.prototxt"
test_iter: 1
test_interval: 2
base_lr: 0.01
lr_policy: "step"
gamma: 0.1
stepsize: 1
momentum: 0.9
weight_decay: 0.0005
display: 1
average_loss: 2
max_iter: 3
snapshot: 2
snapshot_prefix: "s"
solver_mode: CPU
random_seed: 7
type: "%s"
"""
_V1 = """name: "old"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "pool" type: POOLING bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { name: "ip" type: INNER_PRODUCT bottom: "pool" top: "ip" inner_product_param { num_output: 3 } }
layers { name: "prob" type: SOFTMAX bottom: "ip" top: "prob" }
"""
_V0 = """name: "oldest"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 group: 1 blobs_lr: 1.0 blobs_lr: 2.0
  weight_filler { type: "gaussian" std: 0.01 } } bottom: "pad" top: "conv" }
layers { layer { name: "relu" type: "relu" } bottom: "conv" top: "conv" }
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.0001 beta: 0.75 } bottom: "conv" top: "norm" }
layers { layer { name: "ip" type: "innerproduct" num_output: 3 biasterm: false } bottom: "norm" top: "ip" }
layers { layer { name: "prob" type: "softmax" } bottom: "ip" top: "prob" }
"""
_XML = """<annotation><size><width>16</width><height>16</height><depth>3</depth></size><object><name>cat</name>
<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>12</xmax><ymax>14</ymax></bndbox></object></annotation>
"""
_COCO = """{"images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 16}],
"annotations": [{"id": 5, "image_id": 1,
"category_id": 3, "bbox": [1, 2, 8.5, 9], "area": 70, "iscrowd": 0}], "categories": [{"id": 3, "name": "cat"}]}
"""
_PROTO = """syntax = "proto2";
package caffe;
import "imported.proto";
enum Mode { PLAIN = 0; FANCY = 3; }
message LayerParameter {
  optional string name = 1;
  optional MineParameter mine_param = 9001;
  optional Imported imported_param = 9002;
}
message MineParameter {
  required uint32 count = 1 [default = 3];
  repeated float weights = 2 [packed = true];
  optional Mode mode = 3 [default = FANCY];
  message Inner { optional int64 value = 1; oneof which { string a = 2; bytes b = 3; } }
  repeated Inner inner = 4;
  map<string, Inner> named = 5;
  extensions 100 to 200;
}
"""
_IMPORTED = (
    'syntax = "proto2";\npackage caffe;\nmessage Imported { optional double x = 1; repeated Imported more = 2; }\n'
)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing that libraries and commands print reaches anybody."""
    null = os.open(os.devnull, os.O_WRONLY)
    before = os.dup(1), os.dup(2)
    try:
        for stream in (1, 2):
            os.dup2(null, stream)
        yield
    finally:
        for stream, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
        os.close(null)


def write_command(folder: Path, *words: str) -> Path:
    """A folder's command line, a word a line; it is damaged as the files are."""
    (folder / "command").write_text("\n".join(words) + "\n")
    return folder


def take(source: Path, target: Path) -> Path:
    """Copy a file or a folder."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target


def world(folder: Path) -> Path:
    """The world next to a reader's folder of seeds, made by whoever asks first, of several processes too."""
    target = folder.parent / "world"
    with open(folder.parent / "world.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        made = folder.parent / "world.partial"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        before = Path.cwd()
        os.chdir(made)
        try:
            with silent():
                _make()
        finally:
            os.chdir(before)
        made.rename(target)
    return target


def _make() -> None:
    _write_data()
    _write_nets()
    _write_texts()
    _train()
    _write_weights()


def _run(*words: str) -> None:
    from caffecompat.cli.main import main

    status = main(list(words))
    if status != 0:
        raise RuntimeError(f"caffecompat {' '.join(words)}: exit status {status}")


def _write_data() -> None:
    import h5py

    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.jpg", "d.bmp"):
        cv2.imwrite(name, generator.integers(0, 255, (16, 16, 3), np.uint8))
    cv2.imwrite("label.png", generator.integers(0, 3, (16, 16), np.uint8))
    cv2.imwrite("pixels.png", generator.integers(0, 3, (8, 8), np.uint8))
    Path("list.txt").write_text("a.png 0\nb.png 1\nc.jpg 2\n")
    Path("pairs.txt").write_text("a.png label.png\nb.png label.png\n")
    Path("annotated.txt").write_text("a.png a.xml\n")
    Path("a.xml").write_text(_XML)
    Path("coco.json").write_text(_COCO)
    Path("results.json").write_text('[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 8, 9], "score": 0.75}]')
    with h5py.File("data.h5", "w") as file:
        file["data"] = generator.normal(size=(6, 3, 8, 8)).astype(np.float32)
        file["label"] = np.arange(6, dtype=np.float32) % 3
    Path("h5.txt").write_text("data.h5\n")
    np.save("in.npy", generator.random((1, 3, 8, 8), np.float32))
    np.save("mean.npy", np.zeros((3, 8, 8), np.float32))
    for name, code in (("film.avi", "MJPG"), ("film.mp4", "mp4v")):
        film = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*code), 5, (16, 16))  # type: ignore[attr-defined]
        for _ in range(4):
            film.write(generator.integers(0, 255, (16, 16, 3), np.uint8))
        film.release()
    Path("windows.csv").write_text("filename,ymin,xmin,ymax,xmax\na.png,1,1,12,12\nb.png,0,0,7.5,8\n")
    _run("convert_imageset", "--resize_height=8", "--resize_width=8", "", "list.txt", "db")
    _run("convert_imageset", "--resize_height=8", "--resize_width=8", "--backend=leveldb", "", "list.txt", "ldb")
    _run("compute_image_mean", "db", "mean.binaryproto")
    shutil.copytree(GOLDEN / "annotated/db_anno_lmdb", "boxes_db")


def _write_nets() -> None:
    texts = {
        "deploy": _INPUT + _BODY + _POOL + _SOFTMAX,
        "segmenting": _INPUT + _BODY,
        "train_val": _LISTED + _BODY + _POOL + _LOSS,
        "stored": _STORED + _BODY + _POOL + _LOSS,
        "fed": _FED + _BODY + _POOL + _LOSS,
        "filmed": _FILMED + _BODY,
        "features": _STORED + _BODY + _POOL + _SOFTMAX,
        "v1": _V1,
        "v0": _V0,
        "solver": _SOLVER % "SGD",
        "adam": (_SOLVER % "Adam").replace("train_val", "fed"),
        "old_solver": (_SOLVER % "SGD").replace('type: "SGD"', "solver_type: NESTEROV"),
    }
    for name, text in texts.items():
        Path(f"{name}.prototxt").write_text(text)


def _write_texts() -> None:
    item = 'item { name: "%s" label: %d display_name: "%s" }\n'
    Path("labelmap.prototxt").write_text(item % ("bg", 0, "bg") + item % ("cat", 1, "Cat"))
    Path("names.txt").write_text("cat 1 Cat\ndog 2 Dog\n")
    Path("classes.txt").write_text("one\ntwo\nthree\n")
    Path("palette.txt").write_text("128 64 128 road\n244 35 232 side walk\n0 0 0 rest\n")
    Path("ids.txt").write_text("a 1\nb 2\nc 3\nd 4\n")
    Path("pictures.txt").write_text("a.png\nb.png\n")
    Path("mine.proto").write_text(_PROTO)
    Path("imported.proto").write_text(_IMPORTED)
    Path("mine.prototxt").write_text(_INPUT)
    for name, source, lines in (
        ("train", "cli/train.log", 700),
        ("resume", "cli/resume.log", 700),
        ("ssd", "detection/train.log", 2000),
    ):
        text = (GOLDEN / source).read_text().splitlines(keepends=True)
        steps = [line for line in text if line[:1] in "IWEF" and "net.cpp" not in line]
        Path(f"{name}.log").write_text("".join(steps[:lines]))


def _train() -> None:
    for solver in ("solver", "adam"):
        _run("train", "--solver", f"{solver}.prototxt", "--set", f"snapshot_prefix={solver}")
    _run("train", "--solver", "adam.prototxt", "--set", "snapshot_prefix=h5", "--set", "snapshot_format=HDF5")


def _write_weights() -> None:
    import torch

    shutil.copyfile("solver_iter_3.caffemodel", "net.caffemodel")
    for suffix in ("npz", "safetensors", "caffemodel.h5"):
        _run("weights", "convert", "net.caffemodel", f"net.{suffix}")
    from caffecompat.formats import load_caffemodel

    blobs = load_caffemodel("net.caffemodel")
    state = {f"{name}.{('weight', 'bias')[at]}": torch.from_numpy(blob.copy())
             for name in ("conv", "fc") for at, blob in enumerate(blobs[name])}  # fmt: skip
    torch.save(state, "net.pth")
    _run(
        "weights", "convert", "net.pth", "of_torch.caffemodel", "--model", "deploy.prototxt", "--allow-missing", "--yes"
    )
    for name in ("v1", "v0"):
        _write_old(name)
    shutil.copyfile(GOLDEN / "detection/test.prototxt", "test.prototxt")
    words = "export deploy --model test.prototxt --size 32x32 ssd --weights"
    _run(*words.split(), str(GOLDEN / "detection/ssd_iter_70.caffemodel"))
    for name in ("desktop", "board"):
        _run("dump-blobs", "deploy.prototxt", "net.caffemodel", name, "--random", "7")
    _run("dump-blobs", "deploy.prototxt", "net.caffemodel", "tidl", "--random", "7", "--layout", "tidl")


def _write_old(name: str) -> None:
    """A caffemodel of an old generation: the layers of its prototxt with blobs of four sizes."""
    from google.protobuf import text_format

    from caffecompat.schema import pb

    net = text_format.Parse(Path(f"{name}.prototxt").read_text(), pb.NetParameter())
    for layer in net.layers:
        inner = layer.layer if name == "v0" else layer
        if inner.name in ("conv", "ip"):
            shapes = {"conv": ((4, 3, 3, 3), (1, 1, 1, 4)), "ip": ((1, 1, 3, 36), (1, 1, 1, 3))}[inner.name]
            for shape in shapes:
                blob = inner.blobs.add()
                blob.num, blob.channels, blob.height, blob.width = shape
                blob.data.extend(np.linspace(-1, 1, int(np.prod(shape))).tolist())
    Path(f"{name}.caffemodel").write_bytes(net.SerializeToString())
