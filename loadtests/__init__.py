"""Load tests of the gateway."""
