"""Make and look into databases of images.

caffecompat lmdb build train.txt train_lmdb --resize-height 256 --resize-width 256
caffecompat lmdb build flowers/ flowers_lmdb          # a folder of class folders
caffecompat lmdb build pairs.txt city                 # 'image label-image' lines: city/image and city/label
caffecompat lmdb build VOCdevkit/ voc_lmdb --set trainval # Pascal VOC's folders: boxes, for AnnotatedData
caffecompat lmdb build instances_val2017.json coco_lmdb --root val2017/
caffecompat lmdb info train_lmdb
caffecompat lmdb show train_lmdb --out sheet.png
caffecompat lmdb verify train_lmdb --classes 10
caffecompat lmdb split flowers_lmdb train_lmdb val_lmdb --fraction 0.1
"""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

HELP = "build, info, show, verify, split: databases of images"

_VERBS = ("build", "info", "show", "verify", "split")


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"caffecompat.cli.lmdb_{verb}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="|".join(_VERBS), required=True)
    for verb in _VERBS:
        module = _module(verb)
        module.add_flags(verbs.add_parser(verb, help=module.HELP, description=module.HELP))


def run(args: argparse.Namespace) -> int:
    return int(_module(args.what).run(args))
