"""The queue of requests: `base` says what a queue promises, the siblings keep it."""
