"""The scoring service: one user and some candidates in, their expected click-through rates out.

What a ranking service in front of EmbArk looks like: one lookup brings the vectors of all
modalities, within a deadline, and whatever happens to EmbArk, every candidate gets a score.
"""
