"""Owns how long something is, in words short enough for a table."""

from datetime import timedelta


def in_words(duration: timedelta) -> str:
    """Return a duration in its two largest units: 23 ms, 1.5 s, 3 m 20 s, 2 h 5 m, 4 d 3 h."""
    milliseconds = round(duration / timedelta(milliseconds=1))
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 9_950:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(duration.total_seconds()), 60)
    if not minutes:
        return f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} m {seconds} s"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h" if days else f"{hours} h {minutes} m"
