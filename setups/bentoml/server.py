"""`bentoml serve` with a home of its own, which goes when it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from replica.lifeline import die_with_parent


def main() -> int:
    """Its exit code, after SIGTERM or when it ended by itself."""
    with tempfile.TemporaryDirectory(prefix="bento-", ignore_cleanup_errors=True) as home:
        env = os.environ | {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True"}
        # In a session of its own: SIGTERM is for circus, which tells the workers; told themselves, they are replaced.
        bento = subprocess.Popen(
            [Path(sys.executable).with_name("bentoml"), "serve", "served:Served",
             "--working-dir", str(Path(__file__).parent), "--host", os.environ["HOST"], "--port", os.environ["PORT"],
             "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "8"],
            env=env, start_new_session=True, preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: bento.terminate())
        return abs(bento.wait())


if __name__ == "__main__":
    sys.exit(main())
