"""The command line's verbs as readers: a folder with the files of a command, and the command, any of them damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from world import take, world, write_command

__all__ = ["VERBS", "run_command"]

_DEPLOY = ("deploy.prototxt", "net.caffemodel")
_TRAINED = ("solver.prototxt", "train_val.prototxt", "list.txt", "a.png", "b.png", "c.jpg")
_STORED = ("stored.prototxt", "db", "mean.binaryproto")
_LISTED = ("list.txt", "a.png", "b.png", "c.jpg")

# verb: (files of the world, the command's words). Outputs lie in the folder itself.
_COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (_TRAINED, "train --solver solver.prototxt"),
    "train from HDF5": (("adam.prototxt", "fed.prototxt", "h5.txt", "data.h5"), "train --solver adam.prototxt"),
    "time on a video": (("filmed.prototxt", "film.avi"), "time --model filmed.prototxt --iterations 1"),
    "train resumed": ((*_TRAINED, "solver_iter_2.solverstate", "solver_iter_2.caffemodel", "solver_iter_2.resume"),
                      "train --solver solver.prototxt --snapshot solver_iter_2.solverstate"),
    "train resumed from HDF5": (
        ("adam.prototxt", "fed.prototxt", "h5.txt", "data.h5", "h5_iter_2.solverstate.h5", "h5_iter_2.caffemodel.h5",
         "h5_iter_2.resume"), "train --solver adam.prototxt --snapshot h5_iter_2.solverstate.h5"),
    "train from weights": ((*_TRAINED, "net.caffemodel"),
                           "train --solver solver.prototxt --weights net.caffemodel --skip-mismatched --dry-run"),
    "test": ((*_STORED, "net.caffemodel"), "test --model stored.prototxt --weights net.caffemodel --iterations 2"),
    "time": (_DEPLOY, "time --model deploy.prototxt --weights net.caffemodel --iterations 1"),
    "eval segmentation": (("segmenting.prototxt", "net.caffemodel", "pairs.txt", "a.png", "b.png", "label.png"),
                          "eval segmentation --model segmenting.prototxt --weights net.caffemodel "
                          "--list pairs.txt --json"),
    "eval detection": (("results.json", "coco.json", "labelmap.prototxt"),
                       "eval detection --results results.json --list coco.json"),
    "eval classification": ((*_DEPLOY, *_LISTED),
                            "eval classification --model deploy.prototxt --weights net.caffemodel --list list.txt"),
    "parse-log": (("train.log",), "parse-log train.log --verbose"),
    "plot": (("ssd.log", "resume.log"), "plot ssd.log resume.log curve.svg --smooth 2"),
    "convert_imageset": (_LISTED, "convert_imageset --resize_height=8 --resize_width=8 --encoded ./ list.txt out"),
    "convert_annoset": (("annotated.txt", "a.xml", "a.png", "labelmap.prototxt"),
                        "convert_annoset --anno_type=detection --label_map_file=labelmap.prototxt "
                        "./ annotated.txt out"),
    "create_label_map": (("names.txt",), "create_label_map names.txt out.prototxt"),
    "get_image_size": ((*_LISTED, "ids.txt"), "get_image_size --name_id_file=ids.txt ./ list.txt out.txt"),
    "compute_image_mean": (("db",), "compute_image_mean db out.binaryproto --threads 1"),
    "extract_features": ((*_STORED, "features.prototxt", "net.caffemodel"),
                         "extract_features net.caffemodel features.prototxt prob,fc f1,f2 2 lmdb CPU 0"),
    "lmdb build": (("pairs.txt", "a.png", "b.png", "label.png"), "lmdb build pairs.txt out --encode png --threads 1"),
    "lmdb build coco": (("coco.json", "a.png"), "lmdb build coco.json out --root ./ --threads 1"),
    "lmdb info": (("boxes_db",), "lmdb info boxes_db --json"),
    "lmdb show": (("db",), "lmdb show db --out sheet.png"),
    "lmdb verify": (("boxes_db",), "lmdb verify boxes_db --threads 1"),
    "lmdb split": (("ldb",), "lmdb split ldb t v --fraction 0.5"),
    "diff": (("deploy.prototxt", "v1.prototxt", "net.caffemodel"),
             "diff deploy.prototxt v1.prototxt --weights net.caffemodel --html out.html"),
    "check": (("train_val.prototxt", *_LISTED), "check train_val.prototxt --target dpu,tidl --size 32x32"),
    "summary": ((*_STORED, "net.caffemodel"), "summary stored.prototxt --weights net.caffemodel --phase TRAIN"),
    "draw": (("v1.prototxt",), "draw v1.prototxt out.svg"),
    "weights show": (("net.caffemodel",), "weights show net.caffemodel --stats"),
    "weights stats": (("net.safetensors",), "weights stats net.safetensors --json"),
    "weights diff": (("net.caffemodel.h5", "net.npz"), "weights diff net.caffemodel.h5 net.npz"),
    "weights convert": (("net.pth", "deploy.prototxt"),
                        "weights convert net.pth out.caffemodel --model deploy.prototxt --allow-missing --yes"),
    "export onnx": (_DEPLOY, "export onnx --model deploy.prototxt --weights net.caffemodel out.onnx"),
    "export deploy": ((*_TRAINED, "net.caffemodel"),
                      "export deploy --model train_val.prototxt --weights net.caffemodel --merge-bn out"),
    "export torch": (_DEPLOY, "export torch --model deploy.prototxt --weights net.caffemodel out.py"),
    "merge-bn": (_DEPLOY, "merge-bn deploy.prototxt net.caffemodel out.prototxt out.caffemodel"),
    "dump-blobs": ((*_DEPLOY, "in.npy"), "dump-blobs deploy.prototxt net.caffemodel out --input in.npy"),
    "compare-blobs": (("desktop", "tidl"), "compare-blobs desktop tidl --json"),
    "upgrade_net_proto_text": (("v0.prototxt",), "upgrade_net_proto_text v0.prototxt out.prototxt"),
    "upgrade_net_proto_binary": (("v0.caffemodel",), "upgrade_net_proto_binary v0.caffemodel out.caffemodel"),
    "upgrade_solver_proto_text": (("old_solver.prototxt",),
                                  "upgrade_solver_proto_text old_solver.prototxt out.prototxt"),
    "segment": (("segmenting.prototxt", "net.caffemodel", "film.mp4", "a.png", "palette.txt"),
                "segment --model segmenting.prototxt --weights net.caffemodel film.mp4 a.png --out out "
                "--palette palette.txt"),
    "detect": (("ssd.prototxt", "ssd.caffemodel", "a.png", "labelmap.prototxt"),
               "detect --model ssd.prototxt --weights ssd.caffemodel --labelmap labelmap.prototxt --json a.png"),
    "classify": ((*_DEPLOY, "a.png", "classes.txt", "mean.binaryproto"),
                 "classify deploy.prototxt net.caffemodel mean.binaryproto classes.txt a.png"),
    "detect_windows": ((*_DEPLOY, "windows.csv", "a.png", "b.png", "mean.npy"),
                       "detect_windows windows.csv out.csv --model_def deploy.prototxt "
                       "--pretrained_model net.caffemodel --crop_mode list --mean_file mean.npy"),
}  # fmt: skip


def run_command(folder: Path) -> None:
    """Run a folder's command in it; what went wrong is raised as it comes, without being made a message."""
    from caffecompat.cli.main import main

    words = (folder / "command").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    os.chdir(folder)
    try:
        status = main([*words, "--no-python-layers", "--debug"])
    except SystemExit as stop:  # --help
        status = int(stop.code or 0)
    if status not in (0, 1, 2):
        raise AssertionError(f"exit status {status}")


def _seeds(folder: Path, files: tuple[str, ...], words: str) -> list[Path]:
    source, target = world(folder), folder / "command"
    target.mkdir()
    for name in files:
        take(source / name, target / name)
    return [write_command(target, *words.split())]


VERBS: dict[str, Callable[[Path], list[Path]]] = {
    f"verb {name}": partial(_seeds, files=files, words=words) for name, (files, words) in _COMMANDS.items()
}
