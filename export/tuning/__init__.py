"""Choosing a model's serving settings by measurement: `embark tune`.

`__main__` is the command; it reads as candidates (`grid`) → a Triton for each (`serving`) → load
(`perf_analyzer`) → choice (`choosing`) → what is kept (`record`). Not for what the settings mean to
Triton: see `export.triton_config`.
"""
