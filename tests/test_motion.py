"""Moving pictures."""

import io
import re
from base64 import b64decode

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from glf_minimal.motion import moving_picture


def pictures_in(html):
    found = re.findall(r'(srcset|src)="data:image/(\w+);base64,([^"]+)"', html)
    return {kind: Image.open(io.BytesIO(b64decode(data))) for _, kind, data in found}


def test_a_moving_picture_and_its_still():
    figure, axis = plt.subplots(figsize=(2, 1))
    (bar,) = axis.bar([0], [1], color="black")
    axis.set(ylim=(0, 3))
    html = moving_picture(
        figure, lambda frame: bar.set_height(frame), 4, alt='a "bar" grows', caption="<growth>"
    )
    pictures = pictures_in(html)
    assert set(pictures) == {"webp", "png"}
    moving, still = pictures["webp"], pictures["png"]
    assert (moving.n_frames, moving.info["loop"], moving.size) == (4, 3, still.size)
    moving.seek(3)
    light = [sum(picture.convert("L").histogram()[200:]) for picture in (moving, still)]
    assert light[0] == pytest.approx(light[1], rel=0.05)  # the still is the last frame
    assert '<source media="(prefers-reduced-motion: reduce)" srcset="data:image/png' in html
    assert 'alt="a &quot;bar&quot; grows"' in html
    assert "<figcaption>&lt;growth&gt;</figcaption>" in html
    assert not plt.fignum_exists(figure.number)


def test_one_frame_does_not_move():
    with pytest.raises(ValueError, match="frames: expected at least two, got 1"):
        moving_picture(plt.figure(), lambda frame: None, 1, alt="", caption="")
