"""Writing HDR pictures: one module a format, each with a ``FORMAT``; ``imaging/write.py`` lists them."""
