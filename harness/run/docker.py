"""Whether containers can be started here: a client alone is not enough."""

import shutil
import subprocess

ANSWER_S = 10
_ASKED = (("the daemon does not answer", ["version", "--format", "{{.Server.Version}}"]),
          ("it has no `docker compose`", ["compose", "version", "--short"]))


def why_none() -> str:
    """Why no container can be started, without a full stop; "" where it can: there is a client, it reaches a daemon,
    and it knows Compose."""
    client = shutil.which("docker")
    if client is None:
        return "no client is installed"
    for trouble, words in _ASKED:
        try:
            done = subprocess.run([client, *words], capture_output=True, text=True, timeout=ANSWER_S, check=False,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return f"{trouble} within {ANSWER_S} s"
        except OSError as error:
            return f"its client cannot be run: {error.strerror}"
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"{trouble}: {said[-1].rstrip('.')[:200]}" if said else trouble
    return ""
