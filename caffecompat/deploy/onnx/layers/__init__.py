"""The ONNX emitters, in files named like those of the layers; importing this package registers them all."""

from caffecompat.deploy.emitters import import_emitters

import_emitters(__name__)
