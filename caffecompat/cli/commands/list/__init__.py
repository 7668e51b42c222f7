"""Write lists of data sets as they were published, for the layers and verbs that read lists.

caffecompat list voc VOCdevkit/ --out lists                # 'picture annotation.xml' lines and labelmap.prototxt
caffecompat list voc-segmentation VOCdevkit/ --out lists   # 'picture label-picture' lines
caffecompat list sbd benchmark_RELEASE/ --voc VOCdevkit/VOC2012 --out lists   # and trainaug.txt
caffecompat list cityscapes cityscapes/ --out lists --norelative
caffecompat list coco coco/ --out lists
caffecompat list imagenet imagenet/ --devkit ILSVRC2012_devkit_t12 --out lists
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "voc, voc-segmentation, sbd, cityscapes, coco, imagenet: lists of data sets"

_PARTS = Group(__name__, "voc", "voc-segmentation", "sbd", "cityscapes", "coco", "imagenet")
add_flags, run = _PARTS.add_flags, _PARTS.run
