"""A plain locustfile, as a user would have it: nothing of Tailrace in it."""

from locust import HttpUser, constant, task


class Searcher(HttpUser):
    wait_time = constant(0.01)

    @task
    def search(self) -> None:
        self.client.post("/predict", json={"text": "red running shoes"})
