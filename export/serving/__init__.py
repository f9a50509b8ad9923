"""What runs inside Triton's Python backend: fronts that prepare inputs, and the ONNX encoder.

`export` copies this package beside each `model.py` it writes. It imports numpy, Pillow,
tokenizers and onnxruntime only, and works with numpy 1.26.
"""
