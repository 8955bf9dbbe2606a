"""What a model file, its offsets and this machine hold."""
