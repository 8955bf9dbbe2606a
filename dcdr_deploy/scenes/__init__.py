"""HDR scenes and the camera that photographs them: panoramas, procedural and painted ones."""
