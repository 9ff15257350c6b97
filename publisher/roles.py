"""What a process can be, and why it may not start: known to the command line before it loads the service."""

ROLES = ("consume", "deliver", "api", "sign")


class NotReadyError(Exception):
    """The service cannot start as things are; the text is one line and says what to do."""
