"""Files of weights: look into them, compare them, bring them into another format.

    caffecompat weights show net.caffemodel --stats
    caffecompat weights stats net.safetensors
    caffecompat weights diff snapshot_iter_1000.caffemodel snapshot_iter_2000.caffemodel
    caffecompat weights convert net.caffemodel net.npz
    caffecompat weights convert resnet50.pth net.caffemodel --model net.prototxt

``caffecompat weights WHAT --help`` lists the flags of each.
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "show, stats, diff, convert: files of weights, and torch weights into a net"

_PARTS = Group(__name__, "show", "stats", "diff", "convert")
add_flags, run = _PARTS.add_flags, _PARTS.run
