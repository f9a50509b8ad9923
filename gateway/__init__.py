"""EmbArk's HTTP service: it reads the archive and queues what is missing. It never runs a model."""
