"""From PyTorch encoders to a Triton model repository: the only package that imports torch."""
