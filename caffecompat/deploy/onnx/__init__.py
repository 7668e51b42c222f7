"""ONNX: emission layer by layer, what targets want of it, and its verification by onnxruntime."""
