"""A server listens before torch is imported, which takes two seconds."""

from __future__ import annotations

import subprocess
import sys


def test_a_server_is_imported_without_torch() -> None:
    code = "import sys, service.server.server; assert 'torch' not in sys.modules, 'torch is imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)
