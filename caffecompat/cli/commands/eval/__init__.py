"""Score a trained net.

    caffecompat eval segmentation --model deploy.prototxt --weights net.caffemodel \\
        --list val.txt --mean 73,82,72 --scale 0.022
    caffecompat eval segmentation --model deploy.prototxt --snapshots snapshots/espnet --list val.txt --plot miou.png
    caffecompat eval detection --model deploy.prototxt --weights ssd.caffemodel --list VOC2007 --mean 104,117,123
    caffecompat eval classification --model deploy.prototxt --weights net.caffemodel --db val_lmdb --mean 104,117,123
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "score a net: segmentation (IoU), detection (mAP), classification (top-k)"

_PARTS = Group(__name__, "segmentation", "detection", "classification")
add_flags, run = _PARTS.add_flags, _PARTS.run
