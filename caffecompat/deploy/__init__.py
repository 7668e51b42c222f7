"""From a trained net to what runs elsewhere: deploy prototxts, ONNX, torch source, and the targets' rules."""
