"""How numbers of the weekly report are written."""


def milliseconds(value: float | None) -> str:
    """``840 ms``, ``2.31 s``."""
    if value is None:
        return "-"
    return f"{value:,.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def percentage(share: float | None) -> str:
    """``0.8%``."""
    return "-" if share is None else f"{share:.1%}"


def compared(now: float, before: float) -> str:
    """``3% more than``, ``as many as``: a count compared with an earlier one that is not zero."""
    change = round(100 * (now - before) / before)
    return "as many as" if change == 0 else f"{abs(change):,}% {'more' if change > 0 else 'fewer'} than"
