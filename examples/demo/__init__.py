"""`make demo`: the main job on real input, from first sight to hit, checked against PyTorch."""
