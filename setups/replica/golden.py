"""The workload's own example bodies, with which a server proves itself before it says ready."""

import base64
import json
from pathlib import Path


def golden_bodies(workload: Path) -> list[bytes]:
    """Request bodies of golden.json, in its order. Raises OSError or ValueError for a file that is absent or broken."""
    cases = json.loads((workload / "golden.json").read_text(encoding="utf-8"))
    bodies = [base64.b64decode(case["body_base64"]) if "body_base64" in case else case["body"].encode()
              for case in cases]
    if not bodies:
        raise ValueError(f"{workload / 'golden.json'}: no golden request in it")
    return bodies
