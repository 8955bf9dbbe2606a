"""Engines of the packages ``tensorrt`` and ``tensorrt-rtx``, and the plugin that runs our kernels in them."""
