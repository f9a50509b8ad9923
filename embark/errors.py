"""Every error EmbArk raises on purpose, in one tree.

    EmbArkError
    ├── ConfigurationError          a setting, a file or the installation is wrong
    ├── BadRequest                  the caller sent something that cannot be served (HTTP 4xx)
    │   ├── Unauthorized
    │   ├── Forbidden
    │   ├── TooManyRequests
    │   ├── NotFound
    │   ├── PayloadTooLarge
    │   └── FailedInput             a remembered failure, told where there is no word for it
    ├── Unavailable                 a part cannot be reached now; worth trying again (HTTP 503)
    │   ├── ArchiveUnavailable
    │   ├── QueueUnavailable
    │   ├── RetinaUnavailable
    │   ├── Overloaded              this process has more to do than it can in time
    │   └── DeadlineExceeded        the caller's own time limit was over first (HTTP 504)
    ├── CorruptRecord               a stored record fails its checks
    ├── InputFailure                this one input cannot be embedded
    │   ├── PermanentFailure        it never will: remembered as a `failed` record
    │   └── TemporaryFailure        it may later: retried with back-off
    └── ServiceError                what `embark.Client` raises for an error response

The HTTP status lives on the class; `gateway.errors` turns an error into a response in one place.
A missing record is not an error: see `embark.store.base.MISSING`.
"""

from __future__ import annotations

from http import HTTPStatus


class EmbArkError(Exception):
    """Root of the tree. `code` is stable and machine-readable, the message is for people.

    Attributes:
        index: position in the request of the item it is about, None for the request as a whole.
    """

    code = "internal"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, *, code: str | None = None, index: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        if code is not None:
            self.code = code


class ConfigurationError(EmbArkError):
    """A setting, a model repository or an installation that cannot work as it stands."""

    code = "configuration"


class BadRequest(EmbArkError):
    """The request, or one item of it, cannot be served as sent."""

    code = "bad_request"
    http_status = HTTPStatus.BAD_REQUEST


class Unauthorized(BadRequest):
    """The caller has not said who it is."""

    code = "unauthorized"
    http_status = HTTPStatus.UNAUTHORIZED


class Forbidden(BadRequest):
    """The caller is known, and may not do this."""

    code = "forbidden"
    http_status = HTTPStatus.FORBIDDEN


class TooManyRequests(BadRequest):
    """The caller's own limit is reached.

    Attributes:
        retry_after_s: when it is worth asking again.
    """

    code = "too_many_requests"
    http_status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float = 1) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class NotFound(BadRequest):
    """No such model or path."""

    code = "not_found"
    http_status = HTTPStatus.NOT_FOUND


class PayloadTooLarge(BadRequest):
    """The body, the batch or one item exceeds its limit."""

    code = "too_large"
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class FailedInput(BadRequest):
    """The archive remembers that this input cannot be embedded; `code` is the failure's."""

    code = "failed"
    http_status = HTTPStatus.UNPROCESSABLE_ENTITY


class Unavailable(EmbArkError):
    """A part of the platform cannot be reached; the same call may succeed later."""

    code = "unavailable"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE


class ArchiveUnavailable(Unavailable):
    """The archive did not answer, or cannot take a write."""

    code = "archive_unavailable"


class QueueUnavailable(Unavailable):
    """The queue did not accept, deliver or acknowledge in time."""

    code = "queue_unavailable"


class RetinaUnavailable(Unavailable):
    """Triton cannot be reached, is loading, or refuses work because its queue is full."""

    code = "retina_unavailable"


class Overloaded(Unavailable):
    """This process has more to do than it can do in time."""

    code = "overloaded"


class DeadlineExceeded(Unavailable):
    """The time that the caller gives the request is over, so that nobody waits for its answer."""

    code = "deadline_exceeded"
    http_status = HTTPStatus.GATEWAY_TIMEOUT


class CorruptRecord(EmbArkError):
    """A stored record fails its checksum, or is not one of this key, version or dimension."""

    code = "corrupt_record"


class InputFailure(EmbArkError):
    """One input could not be embedded. `code` is the reason a client reads."""

    code = "input_failed"


class PermanentFailure(InputFailure):
    """The input can never be embedded: not an image, too large, a dead or forbidden URL."""


class TemporaryFailure(InputFailure):
    """The input could not be embedded this time: a timeout, a 503 from the image's host."""


class ServiceError(EmbArkError):
    """The gateway answered a client's call with an error.

    Attributes:
        status: HTTP status of the answer, 0 if there was none.
    """

    code = "service_error"

    def __init__(
        self, message: str, *, code: str | None = None, status: int = 0, index: int | None = None
    ) -> None:
        super().__init__(message, code=code, index=index)
        self.status = status
