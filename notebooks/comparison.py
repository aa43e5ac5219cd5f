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
from harness.report import story

results = story.open_results()
story.headline(results)

# %% [markdown]
# ## What did each setup achieve?
#
# Every setup served the same model to the same requests on the same cores. The verdict judges the promise over all
# repetitions; a `~` stands where the data cannot tell.

# %%
story.comparison(results)

# %% [markdown]
# ## How slow are the slowest requests?
#
# Each line shows what share of requests took longer than a given time, so further left is faster and lower is rarer.
# A band spans the repetitions where few setups are shown. Latency counts from the moment a request was due: time spent waiting to be sent, or
# in a queue, is part of it.

# %%
story.tails(results)

# %% [markdown]
# ## Did it stay that way?
#
# Median (thin) and 99th percentile (thick) in slices of time, over all repetitions. A cross marks a slice in which
# requests failed.

# %%
story.over_time(results)

# %% [markdown]
# ## Where does the time go?
#
# The mean time of an answered request, split into what the generator and the setup tell about its way.

# %%
story.time_spent(results)

# %% [markdown]
# ## Why were the slowest slow?
#
# The slowest percent of each setup's answers, and what their delay beyond a usual request's was spent on: the queue
# behind a burst, long inputs, the machine or the server standing still. `tailrace explain RUN` says it row by row.

# %%
story.slowest(results)

# %% [markdown]
# ## In what batches are requests served?
#
# Larger batches use the processor better and make the first request of a batch wait for the last.

# %%
story.batch_sizes(results)

# %% [markdown]
# ## What does a larger batch cost?
#
# The time of a batch against its size decides what batching gains. On a CPU it grows nearly with the size; on a GPU it
# stays nearly flat until the device is full. Where a process of its own owns the GPU it is that process's time: copying
# and computing.

# %%
story.service_time(results)

# %% [markdown]
# ## What does more load do?

# %%
story.more_load(results)

# %% [markdown]
# ## What does each setup take to run and to keep?
#
# Figures are measured on this machine; what integrating it means is what each setup says of itself.

# %%
story.kept(results)

# %% [markdown]
# ## Does each setup keep its contract?
#
# `tailrace check` starts each setup and asks it what every server owes its clients. One that fails a point is raced all
# the same, and the point stands beside its figures.

# %%
story.contract(results)

# %% [markdown]
# ## May these figures be trusted?
#
# Every run is examined for what would make its figures wrong: a late or busy generator, lost rows, pauses of the
# machine, wrong answers.

# %%
story.trust(results)

# %% [markdown]
# ## How was it measured?

# %%
story.how_measured(results)
