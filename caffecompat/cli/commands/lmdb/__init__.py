"""Make and look into databases of images.

caffecompat lmdb build train.txt train_lmdb --resize 256x256
caffecompat lmdb build train.txt big_lmdb --shards 2  # two databases in big_lmdb, which is read as one
caffecompat lmdb build train.txt more_lmdb --augment 4  # each picture four times, mirrored and in other colors
caffecompat lmdb build flowers/ flowers_lmdb          # a folder of class folders
caffecompat lmdb build pairs.txt city                 # 'image label-image' lines: city/image and city/label
caffecompat lmdb build VOCdevkit/ voc_lmdb --set trainval # Pascal VOC's folders: boxes, for AnnotatedData
caffecompat lmdb build instances_val2017.json coco_lmdb --root val2017/
caffecompat lmdb info train_lmdb
caffecompat lmdb show train_lmdb --out sheet.png
caffecompat lmdb show --augmented train_val.prototxt  # what the net sees: records as its transform_param changes them
caffecompat lmdb verify train_lmdb --classes 10
caffecompat lmdb split flowers_lmdb train_lmdb val_lmdb --fraction 0.1
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "build, info, show, verify, split: databases of images"

_PARTS = Group(__name__, "build", "info", "show", "verify", "split")
add_flags, run = _PARTS.add_flags, _PARTS.run
