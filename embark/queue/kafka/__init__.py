"""The queue in Kafka: `queue` is its interface, `message` what is on the wire.

`reader` and `offsets` are the consumer's side, `producer` the other; `dead` keeps dead letters,
`lag` tells how much waits, `topics` makes the topics.
"""

from embark.queue.kafka.queue import KafkaQueue

__all__ = ["KafkaQueue"]
