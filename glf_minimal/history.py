"""The history of a training: one row an epoch, with the mean of every loss term."""

History = list[dict[str, float | int | str]]

TIMES = ("seconds", "cpu_seconds")  # by the clock, and as many as the CPU's cores worked on it
# What a row has besides its loss terms.
BOOKKEEPING = {"stage", "epoch", "step", "lr", "inverse_error", *TIMES}


def loss_terms(history: History) -> list[str]:
    """The names of the loss terms in a history, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in history for name in row if name not in BOOKKEEPING))


def total_times(history: History) -> dict[str, float]:
    """Seconds of all epochs, to a tenth; only those of ``TIMES`` that every epoch has."""
    known = [name for name in TIMES if all(name in row for row in history)]
    return {name: round(sum(row[name] for row in history), 1) for name in known}
