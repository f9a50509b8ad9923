"""The candidates of a sweep: a small grid that depends on the number of cores only."""

from __future__ import annotations

from export.tuning.record import Candidate

_MOST_INSTANCES = 8
_LEAST_FRONTS = 2
_DELAYS_US = (0, 2000)


def candidates(cores: int) -> list[Candidate]:
    """Return what is tried on a machine of `cores` cores.

    Encoder instances and threads are powers of two whose product fills all cores, or half of them
    and leaves the rest to the fronts; the fronts are as many as the instances or twice as many;
    requests wait not at all or 2 ms for others.
    """
    return [
        Candidate(
            front_instances=fronts,
            front_delay_us=delay,
            encoder_instances=instances,
            intra_op_threads=threads,
        )
        for instances, threads in _shapes(cores)
        for fronts in (max(_LEAST_FRONTS, instances), 2 * max(_LEAST_FRONTS, instances))
        for delay in _DELAYS_US
    ]


def _shapes(cores: int) -> list[tuple[int, int]]:
    shapes = {
        (instances, used // instances)
        for used in {cores, max(1, cores // 2)}
        for instances in (2**power for power in range(_MOST_INSTANCES.bit_length()))
        if instances <= used
    }
    return sorted(shapes)
