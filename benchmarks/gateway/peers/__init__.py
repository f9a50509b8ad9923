"""What is compared, one a file: how it is started, and what a client sends to it."""
