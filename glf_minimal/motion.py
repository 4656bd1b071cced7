"""Moving pictures that need no script.

An animation comes with a still for readers who ask for less motion.
"""

import io
from base64 import b64encode
from collections.abc import Callable
from html import escape

import numpy as np
from PIL import Image


def moving_picture(
    figure,
    draw: Callable[[int], None],
    frames: int,
    *,
    alt: str,
    caption: str,
    milliseconds: int = 150,
    rounds: int = 3,
) -> str:
    """An animation as HTML, with its pictures inside; the figure is closed.

    The animation is a WebP that plays ``rounds`` times and then rests on its last frame. Browsers
    of readers who prefer reduced motion show that frame alone, as a PNG.

    Args:
        figure: a matplotlib figure.
        draw: changes the figure to what it shows in a frame, given the number of the frame.
        frames: how many there are, at least two.
        alt: says in words what one sees.
        caption: stands below the picture.
        milliseconds: how long a frame lasts; the last one lasts ten times as long.
        rounds: how often the animation plays.
    """
    import matplotlib.pyplot as plt

    if frames < 2:
        raise ValueError(f"frames: expected at least two, got {frames}")
    pictures = []
    for frame in range(frames):
        draw(frame)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        pictures.append(Image.fromarray(pixels.copy()))
    plt.close(figure)
    moving, still = io.BytesIO(), io.BytesIO()
    first, *others = pictures
    durations = [milliseconds] * (frames - 1) + [10 * milliseconds]
    first.save(
        moving,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=durations,
        loop=rounds,
        quality=60,
    )
    pictures[-1].quantize(256, dither=Image.Dither.NONE).save(still, "PNG", optimize=True)
    image = f'<img src="{_data(moving, "webp")}" alt="{escape(alt)}" '
    image += f'width="{first.width}" height="{first.height}">'
    source = '<source media="(prefers-reduced-motion: reduce)" '
    source += f'srcset="{_data(still, "png")}">'
    picture = f"<picture>{source}{image}</picture>"
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _data(file: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"
