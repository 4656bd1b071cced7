"""Damage to files, and what may come of it: used by several test files."""

import numpy as np

from glf_minimal import GLFError


def damaged(content, seed):
    """Bits flipped anywhere, cut off, bytes of the first or last 200 replaced, or bytes lost, by
    turns.
    """
    rng, bad = np.random.default_rng(seed), bytearray(content)
    place = int(rng.integers(len(bad)))
    if seed % 4 == 0:
        bad[place] ^= 1 << rng.integers(8)
    elif seed % 4 == 1:
        del bad[place:]
    elif seed % 4 == 2:
        for offset in rng.integers(-200, 200, 3):
            bad[offset % len(bad)] = rng.integers(256)
    else:
        del bad[place : place + rng.integers(1, 30)]
    return bytes(bad)


def load_or_sentence(load, *words):
    """What ``load`` gives, or None where it refuses in one line that has these words."""
    try:
        return load()
    except GLFError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence
    return None
