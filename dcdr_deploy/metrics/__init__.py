"""Image quality figures for linear HDR pictures; ``registry.METRICS`` lists them."""
