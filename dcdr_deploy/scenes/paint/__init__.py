"""Layers of the procedural HDR scenes: canvas, street parts, room and lens."""
