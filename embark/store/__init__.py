"""The archive's stores: `base` says what a store promises, the siblings keep it.

A store moves opaque records; what they mean is `embark.codec`, and `embark.archive` joins both.
"""
