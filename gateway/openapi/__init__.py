"""The OpenAPI document of this service, as the settings make it.

One module for each group of endpoints says their paths; `schemas` what travels. Tests hold the
document against the application's routes and its answers.
"""

from gateway.openapi.document import document

__all__ = ["document"]
