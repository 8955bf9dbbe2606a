"""Importing the package is cheap."""

import subprocess
import sys


def test_import_loads_neither_opencv_nor_pillow_nor_openexr():
    code = "import sys, dcdr_deploy.imaging; print([m for m in ('cv2', 'PIL', 'OpenEXR', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
