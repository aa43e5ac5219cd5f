"""How often a request may be sent once more: a share of the requests, so that trouble is not multiplied.

As in Finagle's RetryBudget: each request deposits `share`, each retry takes 1; a small reserve is there from the start.
"""

RESERVE = 10.0
MOST = 100.0


class Budget:
    """A balance between 0 and 100."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._balance = RESERVE if share > 0 else 0.0

    def deposit(self) -> None:
        """A request came."""
        self._balance = min(MOST, self._balance + self._share)

    def take(self) -> bool:
        """Whether one more may be sent; it is then paid for."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
