"""Types of command-line options that several of the serving commands have."""

import argparse
import threading


def seconds(text: str) -> float:
    """A pause between two rounds; without one a loop would turn as fast as it can.

    Raises:
        argparse.ArgumentTypeError: it is not above zero, or longer than a thread can wait.
        ValueError: it is no number.
    """
    value = float(text)
    if not 0 < value <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no pause; give seconds above zero, for example 2")
    return value
