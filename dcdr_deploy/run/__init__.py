"""Pictures through an engine: tiles, one file, a folder. Never ``from dcdr_deploy import run``."""
