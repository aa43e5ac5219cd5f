# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
from harness.report import decision_story as story

decision = story.open_decision()
story.headline(decision)

# %% [markdown]
# ## What would each setup cost at this demand?
#
# Cost counts the replicas that the demand needs hour by hour, spare ones and idle hours included. Beside it stands what
# price divided by throughput at its peak would say, so that the difference is seen.

# %%
story.candidates(decision)

# %% [markdown]
# ## Who is both cheap and fast?
#
# A setup is on the front when none is both cheaper and faster at the slowest percent.

# %%
story.front(decision)

# %% [markdown]
# ## How many replicas, and when?

# %%
story.replicas(decision)

# %% [markdown]
# ## From which load on would another setup be cheaper?
#
# The same shape of demand, made smaller and larger. Steps are whole machines; the band is what the interval of each
# capacity allows.

# %%
story.break_even(decision)

# %% [markdown]
# ## How sure is that?
#
# Costs are compared pair by pair over repetitions. The intervals hold however often one looks and measures on, and the
# chance of ever naming a setup that is not the cheapest is bounded over all of them.

# %%
story.certainty(decision)

# %% [markdown]
# ## What would change it?
#
# The favourite's price thirty percent down and up, the promised latency halved and doubled, the demand halved and
# doubled.

# %%
story.stability(decision)

# %% [markdown]
# ## What was assumed?

# %%
story.assumptions(decision)

# %% [markdown]
# ## What is written down?
#
# The record that `tailrace decide` writes into the project when it is given `--out`, with a run behind every figure.
# `tailrace decide --recheck FILE` says when it is to be made again.

# %%
story.record(decision)
