"""The networks of ``models/``: a module each, or a family, whose ``NETWORKS`` say all there is to know of them.

>>> import dataclasses
>>> from caffecompat.zoo import NETWORKS, network_files
>>> espnet = NETWORKS["espnet"]
>>> files = network_files(espnet, dataclasses.replace(espnet.recipe, classes=8, width=256, height=128, crop=128))
>>> sorted(files)[:3]
['README.md', 'deploy.prototxt', 'deploy_encoder.prototxt']
"""

from caffecompat.zoo import (
    cifar10,
    ddrnet,
    deeplab,
    enet,
    espnet,
    fpn,
    googlenet,
    jacinto,
    jdetnet,
    lenet,
    mobilenet,
    resnet,
    squeezenet,
    ssd,
    ssd_resnet,
    unet,
)
from caffecompat.zoo.folder import network_files
from caffecompat.zoo.network import Network, Recipe, Source

__all__ = ["NETWORKS", "Network", "Recipe", "Source", "network_files"]

NETWORKS: dict[str, Network] = {
    network.name: network
    for module in (
        cifar10,
        ddrnet,
        deeplab,
        enet,
        espnet,
        fpn,
        googlenet,
        jacinto,
        jdetnet,
        lenet,
        mobilenet,
        resnet,
        squeezenet,
        ssd,
        ssd_resnet,
        unet,
    )
    for network in module.NETWORKS
}
