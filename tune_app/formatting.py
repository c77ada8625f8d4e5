"""Times and numbers as a person reads them."""


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: float) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{count / 1e9:.2g} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def escaped(text: str) -> str:
    """Return the text with unprintable characters escaped.

    Untrusted text then cannot send control codes to the terminal.
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def brief(value: object) -> str:
    """Return a number with three significant digits, anything else as text."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def short(value: object) -> str:
    """Return a number with four significant digits, anything else as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
