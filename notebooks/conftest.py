"""What the notebooks need when they are run by pytest."""

import matplotlib

# Where matplotlib may not keep its files it takes a folder of its own, says so on stderr, and puts
# it into MPLCONFIGDIR. Said here once, it is no output of every notebook's first cell.
matplotlib.get_cachedir()
