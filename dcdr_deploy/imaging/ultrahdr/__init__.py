"""Ultra HDR: a JPEG for every viewer, and beside it a gain map that HDR viewers apply (ISO 21496-1, Adobe's hdrgm).

``write.py`` is the entry; ``base.py`` finds the SDR picture, ``gain.py`` what to multiply it by, ``metadata.py`` says
that in both standards' words, ``segments.py`` takes a JPEG apart without touching what it holds.
"""
