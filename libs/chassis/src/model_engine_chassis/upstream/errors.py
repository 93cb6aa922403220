"""What can go wrong on the way to an upstream, and whether the request may be sent again.

UpstreamError
├── ConnectFailed         nothing was sent
├── TooManyConnections    nothing was sent
├── UpstreamTimeout       silent for too long
├── UpstreamClosed        connection lost before the answer was complete
├── BadResponse           the answer is not HTTP/1.1, or uses what is refused here
└── BodyTooLarge          the answer is larger than the caller takes
"""


class UpstreamError(Exception):
    """Base of all failures of an exchange.

    `sent` is False when no byte of the request left this process: any request may then be sent again, elsewhere too.
    `answered` is True when at least one byte of an answer came.
    """

    def __init__(self, message: str, *, sent: bool = True, answered: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.answered = answered


class ConnectFailed(UpstreamError):
    """The upstream refused the connection, could not be resolved, or did not accept within the connect timeout."""

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)


class TooManyConnections(UpstreamError):
    """All connections to this upstream stayed busy for the connect timeout, or too many callers wait already."""

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)


class UpstreamTimeout(UpstreamError):
    """The upstream took no more of the request, or sent no head or no further byte of its answer, in time."""


class UpstreamClosed(UpstreamError):
    """The connection ended before the answer was complete."""


class BadResponse(UpstreamError):
    """The answer breaks HTTP/1.1 or this client's limits: head too long, upgrade, unknown transfer coding."""


class BodyTooLarge(UpstreamError):
    """The body of the answer exceeds the limit given to `Exchange.read`."""
