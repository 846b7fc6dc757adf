"""A calculator on two CPU cores: RL teaches when to call a tool.

Products of two numbers of three digits. A third of the demonstrations call the calculator, the
others write the product at once, which a policy of this size gets wrong; RL from right or wrong
does the rest. What the tool says is heard as it is and carries no loss.

  rljax train --config=calculator

What to expect, over three seeds and without the tool: experiments/calculator.
"""

import rljax
from rljax.tasks.products import ALPHABET, CALL, ERROR, RESULT


def get_config():
  config = rljax.load_config('quickstart')
  config.task = dict(name='tasks.products', tool_share=0.33)
  config.tokenizer = dict(name='tokenization.characters', alphabet=ALPHABET)
  config.environment = dict(
    name='environments.tools', call=CALL, result=RESULT, error=ERROR, max_turns=4, turn_tokens=10,
    max_observation=8,
  )  # fmt: skip
  config.sft.update(iterations=600, prompts=64, max_length=32, stop_accuracy=0.0)
  config.rl.update(iterations=40, prompts=32, samples=16, max_prompt=8, max_new_tokens=32)
  for stage in (config.sft, config.rl):
    stage.update(rows=64, row_length=40)
  return config
