"""Open-RS: GRPO with the cosine length reward, on a budget of 42 dollars.

Dang and Ngo 2025, "Reinforcement Learning for Reasoning in Small LLMs". A small curated set, short
completions and a reward that prefers short right answers and long wrong ones. Differs from
`quickstart`: shaping of the reward; its data are not rljax's. Expected: shorter right answers where
lengths can differ.

  rljax train --config=papers/open_rs
"""

import rljax

METHOD = dict(
  paper="Reinforcement Learning for Reasoning in Small LLMs: What Works and What Doesn't (2025)",
  scope='RECIPE',
  stage='recipe',
  functions=('shaping.cosine_length',),
  fidelity='recalled',
  baseline='quickstart',
  differs='rewards',
)


def get_config():
  config = rljax.load_config('presets/cosine_length')
  return config
