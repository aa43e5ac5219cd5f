"""`mlserver start` with its settings from the environment, and an order of its own when it ends."""

import asyncio
import os
import tempfile
import time

from mlserver import MLServer, ModelSettings, Settings
from mlserver.registry import MultiModelRegistry
from mlserver.utils import install_uvloop_event_loop
from replica.loopback import free_ports
from served import Served, speak_for_each

STOP_S = 8


class Drained(MLServer):
    """MLServer as it is, but that it answers what it has accepted before it ends its workers: by itself it ends the
    workers first, and requests in flight hang."""

    def _create_model_registry(self) -> MultiModelRegistry:
        registry = super()._create_model_registry()
        registry._on_model_load.append(speak_for_each)
        return registry

    async def stop(self, sig: int | None = None) -> None:
        """Returns when nothing of it runs any more."""
        await self._rest_server.stop(sig)
        until = time.monotonic() + STOP_S
        while self._rest_server._server.server_state.tasks and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().stop(sig)


async def serve(folder: str) -> None:
    """Returns after SIGTERM."""
    host = os.environ["HOST"]
    [grpc_port] = free_ports(1)
    settings = Settings(debug=False, host=host, http_port=int(os.environ["PORT"]), grpc_port=grpc_port,
                        metrics_port=int(os.environ["METRICS_PORT"]), metrics_dir=folder, environments_dir=folder,
                        parallel_workers=int(os.environ["KNOB_WORKERS"]), parallel_workers_timeout=2)
    served = ModelSettings(name="model", implementation=Served, max_batch_size=int(os.environ["KNOB_MAX_BATCH"]),
                           max_batch_time=float(os.environ["KNOB_MAX_WAIT_MS"]) / 1e3)
    await Drained(settings).start([served])


def main() -> None:
    """Serves until SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="mlserver-", ignore_cleanup_errors=True) as folder:
        install_uvloop_event_loop()
        asyncio.run(serve(folder))


if __name__ == "__main__":
    main()
