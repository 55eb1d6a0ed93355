"""Ritmo's service: gets models only through `models/<name>/<version>/`, never through training code."""

import os

# numpy's matrices here are small, and made in several threads at once: a BLAS that spreads each over all cores makes an
# image cost three times the processor time, and many at once wait for one another. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
