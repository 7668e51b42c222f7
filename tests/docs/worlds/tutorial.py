"""The ESPNet folder of AMD's segmentation tutorial with its absolute paths, for smaller pictures, and a picture."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.docs.worlds import streets
from tests.docs.worlds.weights import random_weights

_MODELS = Path(__file__).resolve().parents[3] / "models"
_SMALLER = [
    (r"batch_size: \d+", "batch_size: 1"),
    (r"crop_size: \d+", "crop_size: 64"),
    (r"dim: 1024\b", "dim: 128"),
    (r"dim: 512\b", "dim: 64"),
]


def write() -> None:
    streets.write()
    shutil.copyfile("data/val/000000.png", "munich.png")
    root = "/workspace/Segment/workspace/"
    for name in ("train_val", "train_val_encoder", "deploy", "deploy_encoder"):
        text = (_MODELS / f"espnet/{name}.prototxt").read_text()
        for pattern, smaller in _SMALLER:
            text = re.sub(pattern, smaller, text)
        Path("espnet").mkdir(exist_ok=True)
        text = text.replace("data/train.txt", f"{root}data/cityscapes/img_seg.txt")
        Path(f"espnet/{name}.prototxt").write_text(text)
    for stage, folder in (("", "final_models"), ("_encoder", "encoder_models")):
        Path(f"espnet/solver{stage}.prototxt").write_text(
            f'net: "{root}model/espnet/train_val{stage}.prototxt"\nbase_lr: 0.0005\ndisplay: 50\nmax_iter: 20000\n'
            'lr_policy: "poly"\ngamma: 0.1\nmomentum: 0.9\nweight_decay: 0.0005\nsnapshot: 1000\n'
            f'snapshot_prefix: "{root}model/espnet/{folder}/"\nsolver_mode: GPU\nsnapshot_after_train: true\n'
            'test_initialization: false\naverage_loss: 10\ndevice_id: 0\niter_size: 20\ntype: "Adam"\n'
        )
    random_weights("espnet/deploy.prototxt", "espnet/final_models/pretrained.caffemodel")
