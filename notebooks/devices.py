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
from harness.report import sides_story as story

told = story.open_devices()
story.headline(told)

# %% [markdown]
# ## What does each setup achieve on either side?
#
# The same setups served the same models under the same promise on two machines, or on the CPU and the GPU of one. A row
# is the highest load measured at which the promise was kept.

# %%
story.comparison(told)

# %% [markdown]
# ## How far does each go?
#
# Every load that was measured: right is more good answers a second, down is a shorter tail. A filled mark kept the
# promise. The base is dotted.

# %%
story.frontier(told)

# %% [markdown]
# ## Where does the time go?
#
# The mean time of an answered request. On a GPU the model's time is split into copies, kernels, and what the CPU does
# of it: decoding, encoding, launching.

# %%
story.time_spent(told)

# %% [markdown]
# ## What does the energy cost?

# %%
story.energy(told)

# %% [markdown]
# ## May these figures be trusted?

# %%
story.trust(told)

# %% [markdown]
# ## On which machines was it measured?

# %%
story.how_measured(told)
