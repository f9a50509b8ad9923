"""What runs inside Triton's Python backend: the front that prepares inputs, and the ONNX encoder.

`export` copies this package beside each `model.py` it writes, and prepares its own inputs with it,
so that what is verified is what is served. It imports numpy, Pillow, tokenizers and onnxruntime
only, and works with numpy 1.26.
"""
