"""Near-duplicates over a catalogue, by image and text together.

    items.csv → items ─ fetching → work folder of vectors ─ space → comparable vectors
        → candidates (nearest pairs by text, by image) → deciding (a score from both, and wording)
        → grouping → tables, report

One module a step; `finding` reads as the list above. Nothing here computes a vector: they come from
the service. Not for the nearest items of one input: that is `embark duplicates` without `--items`.
"""
