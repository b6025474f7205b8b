"""The one exception of this program."""


class Refused(Exception):
    """An input is refused. The name is that of the error in the Go library (SPEC.md appendix C)."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name
