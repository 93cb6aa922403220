"""The one error of the domain: a value that the API refuses."""


class Invalid(Exception):
    """A value that no request may have, answered with 400. `text` names the value, `code` is stable."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
