"""Sorting by a policy that has seen what feedback means: what ways to learn from it start from.

RL is of first attempts alone. Differs from `presets/grpo_on_policy`: half of the demonstrations are
a second attempt after the right beginning of the word; REINFORCE with the mean of the others as
baseline, and sums over the tokens of a sample.

  rljax train --config=presets/feedback
"""

import rljax

SPEECH = ('!', '=')
FEEDBACK = 'tasks.words.right_beginning'


def get_config():
  config = rljax.load_config('presets/grpo_on_policy')
  sorting = config.task.to_dict()
  config.task = dict(name='tasks.with_feedback', task=sorting, feedback=FEEDBACK, speech=SPEECH)
  config.tokenizer.alphabet = 'abcdefghijklmnopqrstuvwxyz>!='
  config.sft.update(max_length=46, row_length=46)
  config.rl.update(max_new_tokens=25, row_length=36)  # room for feedback behind an attempt
  config.rl.advantage = dict(name='advantages.leave_one_out')
  config.rl.loss = dict(name='losses.reinforce')
  config.rl.weights = dict(name='weighting.seq_mean_token_sum')
  return config
