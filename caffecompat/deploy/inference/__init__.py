"""Nets that only infer: what is constant is folded and packed, and the quicker of torch and onnxruntime computes."""
