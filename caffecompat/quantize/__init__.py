"""Fixed point: nets folded, quantized, calibrated and written as the Xilinx quantizer (vai_q_caffe) does it."""
