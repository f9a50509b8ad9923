"""Hot traffic on a whole `embark up` for long, with restarts: memory, answers, errors.

traffic.py   client processes that compare every vector with the one archived
memory.py    what processes hold, and whether it grows
__main__.py  the run, its table and its verdict
"""
