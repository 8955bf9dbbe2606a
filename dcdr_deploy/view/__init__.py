"""Seeing HDR pictures: a sheet of exposures and a page for the browser."""
