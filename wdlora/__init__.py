"""Weight-decomposed low-rank adaptation for corneal confocal microscopy: the library.

Importing this package imports nothing else; each room (`wdlora.decomposition`, `wdlora.anatomy`, …) is
imported by whoever needs it.
"""

__version__ = "0.1.0"
