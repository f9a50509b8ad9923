"""KFC: takes requests off the queue, has Retina embed them, and writes the archive."""
