"""Measurements: what was chosen by figures, and how to measure it again."""
