"""A seeded world of card transactions with a known rule of fraud, so that drift and late labels can be simulated.

Sixteen features, quantised (cents, tenths, whole numbers), so that they are the same on every processor and exact in
float32. The label is drawn from a probability that `fraud_probability` states: no model can do better than it.
"""

from dataclasses import dataclass

import numpy as np

# Name: (is it a whole number?, what it says).
FEATURES: dict[str, tuple[bool, str]] = {
    "amount_eur": (False, "what is paid, in euros and cents, 0.50 to 20000"),
    "amount_ratio": (False, "the amount over the customer's mean of 90 days, two digits, up to 100"),
    "spent_24h_eur": (False, "what the card paid in the last 24 hours, in euros and cents"),
    "count_1h": (True, "the card's transactions in the last hour"),
    "count_24h": (True, "the card's transactions in the last 24 hours"),
    "minutes_since_last": (True, "minutes since the card's last transaction, up to 100000"),
    "distance_km": (False, "from the last place the card was used, one digit, up to 20000"),
    "hour": (True, "local hour of the day, 0 to 23"),
    "weekday": (True, "0 is Monday"),
    "merchant_category": (True, "0 to 11; see MERCHANTS"),
    "card_present": (True, "1 when the card was read by a terminal, 0 when its number was typed"),
    "foreign": (True, "1 when the merchant's country is not the customer's"),
    "account_age_days": (True, "days since the account was opened"),
    "device_age_days": (True, "days since the device was first seen; 0 is a new one"),
    "failed_pins_24h": (True, "wrong PINs or passwords in the last 24 hours"),
    "email_risk": (False, "a supplier's score of the address, 0 to 1, two digits"),
}
MERCHANTS = ("grocery", "fuel", "restaurant", "clothing", "travel", "electronics", "pharmacy", "streaming",
             "gift cards", "jewellery", "gaming", "money transfer")
_SHARES = (0.24, 0.12, 0.16, 0.1, 0.06, 0.07, 0.07, 0.07, 0.03, 0.02, 0.04, 0.02)
_RISK = np.array([-0.6, -0.4, -0.3, 0.0, 0.3, 0.7, -0.4, -0.2, 1.4, 1.0, 0.6, 1.6])


@dataclass(frozen=True)
class World:
    """What can change after a model was trained; the defaults are the world it is trained on.

    Covariate drift: `amount_scale` multiplies amounts (inflation), `foreign_share` and `online_share` move who pays
    where. Prior drift: `log_odds` is added to every transaction's odds of fraud. Concept drift: `card_testing`, 0 to 1,
    is the share of frauds' rule that moves from large sums to series of tiny ones. `label_delay_days` is the median
    time until a fraud is reported (lognormal, sigma 0.8).
    """

    amount_scale: float = 1.0
    foreign_share: float = 0.06
    online_share: float = 0.35
    log_odds: float = 0.0
    card_testing: float = 0.0
    label_delay_days: float = 21.0


@dataclass(frozen=True)
class Transactions:
    """`features` float32[n, 16] in the order of FEATURES; `fraud` int8[n]; `probability` float64[n], the true one;
    `label_delay_days` float64[n], when a fraud becomes known (a transaction never reported is taken as honest)."""

    features: np.ndarray
    fraud: np.ndarray
    probability: np.ndarray
    label_delay_days: np.ndarray


def transactions(seed: int, count: int, world: World | None = None) -> Transactions:
    """`count` transactions; the same for the same seed, count and world."""
    world = world or World()
    random = np.random.default_rng(seed)
    columns = _columns(random, count, world)
    features = np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)
    probability = fraud_probability(features, world)
    fraud = (random.random(count) < probability).astype(np.int8)
    delay = np.round(world.label_delay_days * random.lognormal(0, 0.8, count), 1)
    return Transactions(features, fraud, probability, delay)


def fraud_probability(features: np.ndarray, world: World | None = None) -> np.ndarray:
    """The rule: the true probability of fraud of each row, float64[n]."""
    world = world or World()
    x = dict(zip(FEATURES, features.astype(np.float64).T, strict=True))
    online, new_device = 1 - x["card_present"], x["device_age_days"] < 2
    night = (x["hour"] < 6).astype(float)
    speed_kmh = x["distance_km"] / np.maximum(x["minutes_since_last"], 5) * 60
    large = 1.3 * np.log1p(x["amount_ratio"]) + 1.5 * (x["amount_eur"] > 800) * online
    tiny = 5.0 * (x["amount_eur"] < 5) * (x["count_1h"] >= 2)
    odds = (-4.9 + world.log_odds + (1 - world.card_testing) * large + world.card_testing * tiny
            + _RISK[x["merchant_category"].astype(int)]
            + 2.0 * online * new_device + 1.5 * x["foreign"] * (1 + 0.6 * night) + 0.5 * night
            + 2.0 * (speed_kmh > 900) + 0.8 * np.minimum(x["count_1h"], 6)
            + 1.5 * np.minimum(x["failed_pins_24h"], 4) + 4.5 * x["email_risk"] * online
            - 0.35 * np.log1p(x["account_age_days"] / 30))
    return 1 / (1 + np.exp(-odds))


def _columns(random: np.random.Generator, count: int, world: World) -> dict[str, np.ndarray]:
    usual = random.lognormal(3.3, 0.7, count)
    amount = np.clip(usual * random.lognormal(0, 0.8, count) * world.amount_scale, 0.5, 20_000)
    online = random.random(count) < world.online_share
    foreign = random.random(count) < world.foreign_share
    far = np.where(foreign, 1500.0, 8.0) * random.lognormal(0, 1.2, count)
    pace = random.lognormal(0, 0.7, count)
    count_24h = random.poisson(2.2 * pace)
    whole_hour = random.choice(24, count, p=_hours())
    return {
        "amount_eur": np.round(amount, 2),
        "amount_ratio": np.round(np.minimum(amount / usual, 100), 2),
        "spent_24h_eur": np.round(np.minimum(count_24h * usual * random.lognormal(0, 0.5, count), 50_000), 2),
        "count_1h": np.minimum(random.poisson(0.25 * pace), count_24h),
        "count_24h": count_24h,
        "minutes_since_last": np.floor(np.minimum(random.exponential(600 / pace), 100_000)),
        "distance_km": np.round(np.minimum(far, 20_000), 1),
        "hour": whole_hour,
        "weekday": random.integers(0, 7, count),
        "merchant_category": random.choice(len(MERCHANTS), count, p=_SHARES),
        "card_present": (~online).astype(int),
        "foreign": foreign.astype(int),
        "account_age_days": np.floor(random.gamma(1.2, 900, count)),
        "device_age_days": np.floor(random.exponential(200, count)),
        "failed_pins_24h": random.poisson(0.06, count),
        "email_risk": np.round(random.beta(1.2, 6, count), 2),
    }


def _hours() -> np.ndarray:
    """Few pay at night, most in the afternoon."""
    weight = 1.05 + np.cos((np.arange(24) - 15) * np.pi / 12)
    return weight / weight.sum()
