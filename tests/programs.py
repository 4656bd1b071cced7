"""Programs that some tests need beside Python."""

import os
import shutil

CHROMIUM = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]


def chromium():
    """Path of an installed Chromium, or the one that the variable CHROMIUM names; None where there
    is none.
    """
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
