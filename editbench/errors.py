"""Exceptions with a meaning of their own, and exit codes."""

EXIT_USER_ERROR = 2
EXIT_PEER_LOST = 3
"""Exit code of a process that ended because another one did."""


class UserError(Exception):
    """Something the user can mend: one sentence that says what was found where and what to do.

    Commands print it without a traceback and exit with code 2.

    Attributes:
        on_all_ranks: Whether every rank raises it, so that one is enough to say it.
    """

    on_all_ranks = False


class PeerLostError(UserError):
    """Another rank ended first; its own error is the one to read."""


class MetricError(UserError):
    """The metric cannot be had on this machine, or with these arguments."""


class EarlierTurnError(ValueError):
    """The edit before in a chain has no image, so there is nothing that this one could be made of."""


class InvalidOutputError(ValueError):
    """The editor ran, but what it returned is no edited picture: NaN, a wrong size or mode, or one colour."""


class ServerError(UserError):
    """A server that no request is answered by; for the user to mend.

    Attributes:
        status: HTTP status of its last answer; None without one.
    """

    status: int | None = None


class StoppedError(BaseException):
    """The phase is stopping, so a request to a server was not waited for: its sample is left for the next start.

    As KeyboardInterrupt it is no Exception: nothing has failed, and what puts failures on record lets it pass.
    """
