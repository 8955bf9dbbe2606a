"""Image quality figures for linear HDR pictures."""
