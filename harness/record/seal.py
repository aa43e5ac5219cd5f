"""What run.json holds, as a sum of its own."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from harness.record.plain import plain


def digest(table: Mapping[str, Any]) -> str:
    """sha256, as hex, of all fields but `digest` itself: JSON with sorted keys and no spaces."""
    text = json.dumps(plain({name: value for name, value in table.items() if name != "digest"}), sort_keys=True,
                      separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
