"""Why ONNX has nothing for SSD's PriorBox."""

from caffecompat.deploy.onnx.emission import lacks

lacks("PriorBox", "reads only shapes: its values are computed while exporting, a constant at every opset")
