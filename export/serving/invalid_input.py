"""What a front says of an input that can never be embedded."""


class InvalidInput(ValueError):
    """`code` is machine-readable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
