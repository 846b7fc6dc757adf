"""Dr. Kernel: the return of a turn, less that of the same turn of the other completions.

Dr. Kernel: Reinforcement Learning Done Right for Triton Kernel Generations (arXiv 2602.05885). A
mean that holds the completion itself biases the gradient where completions have different numbers
of turns; the baseline here is the mean of the others that have the turn. Differs from
`calculator`: advantages. The formula is recalled; kernels, their profiling rewards and the
rejection of lazy ones are not there, the task is a calculator. Expected: as good as group
normalisation or better where completions stop at different turns, and the same with one turn.

  rljax train --config=papers/dr_kernel
"""

import rljax

METHOD = dict(
  paper='Dr. Kernel: Reinforcement Learning Done Right for Triton Kernel Generations (2026)',
  scope='CORE',
  stage='advantages',
  functions=('advantages.turn_leave_one_out',),
  fidelity='recalled',
  baseline='calculator',
  differs='advantages',
)


def get_config():
  config = rljax.load_config('calculator')
  config.rl.extras = ('turn_ids',)
  config.rl.advantage = dict(name='advantages.turn_leave_one_out')
  return config
