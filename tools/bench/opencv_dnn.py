"""A net in OpenCV's dnn, timed on request: run by bench_inference in the Python of another environment.

    python opencv_dnn.py deploy.prototxt net.caffemodel net.onnx 1,3,227,227 2 wall

Prints OpenCV's version and which file it reads; then, for each line that comes in, the seconds of a pass.
"""

import sys
import time

import cv2
import numpy as np


def main() -> None:
    prototxt, weights, model, shape, threads, clock = sys.argv[1:]
    cv2.setNumThreads(int(threads))
    batch = np.random.default_rng(0).standard_normal([int(side) for side in shape.split(",")], np.float32)
    now = time.process_time if clock == "processor" else time.perf_counter
    kind = "Caffe"
    try:
        net = cv2.dnn.readNetFromCaffe(prototxt, weights)  # type: ignore[attr-defined]  # gone in OpenCV 5
        net.setInput(batch)
        net.forward()
    except cv2.error:  # layers that only forks of Caffe have
        kind = "ONNX"
        net = cv2.dnn.readNetFromONNX(model)
        net.setInput(batch)
        net.forward()
    print(cv2.__version__, kind, flush=True)
    for _ in sys.stdin:
        begun = now()
        net.setInput(batch)
        net.forward()
        print(now() - begun, flush=True)


if __name__ == "__main__":
    main()
