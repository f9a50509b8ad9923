"""A click-through-rate model on archived embeddings: data, training, serving, simulation.

`python -m examples.ctr COMMAND` from the project's root; see README.md beside this file.
"""
