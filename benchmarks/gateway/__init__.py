"""The gateway beside what else could answer: measured in one run, in alternated rounds.

`python -m benchmarks.gateway lookups` and so on, see `__main__`. Each part writes its figures as
JSON; `table` turns them into docs/benchmarks.md, which also says how all this is measured.

`peers/` has one file for each thing that is compared, `parts/` one for each question,
`programs/` what runs in processes of its own, some of them in environments without EmbArk.
"""
