"""Training: data sources, camera model, losses, loop; needs torch (extra ``train``)."""
