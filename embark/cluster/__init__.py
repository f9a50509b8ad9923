"""A real Cassandra and Kafka on this machine, for development and tests.

`local` runs them, the siblings say how each is fetched, configured and asked whether it answers.
Not for production: nothing here listens beyond loopback, and nothing is authenticated.
"""
