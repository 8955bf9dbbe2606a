"""Fixtures of the export tests."""

from conftest_export import checkpoint, exported, exported_fp16, single_checkpoint

__all__ = ["checkpoint", "exported", "exported_fp16", "single_checkpoint"]
