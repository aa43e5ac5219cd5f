"""The load as Locust knows it: one user whose only task is a whole schedule."""

from collections.abc import Callable

from locust import User, task
from locust.exception import StopUser


def user_that(sends: Callable[[], None]) -> type[User]:
    """A User class whose task calls `sends` once, in the hub's greenlet for it, and then ends."""

    class ScheduledLoad(User):
        @task
        def send_schedule(self) -> None:
            sends()
            raise StopUser

    return ScheduledLoad
