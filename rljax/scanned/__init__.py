"""A stage of reinforcement as one compiled program: sampler, reward, update and evaluation.

The iterations of `stages.Reinforcement` without the host between them, for tasks that have a twin
on token arrays. All that differs between two runs of one shape is data (parameters, prompts, noise,
traced hyper-parameters, when to evaluate), so they share the program, one after the other or by
`vmap`.
"""

from rljax.scanned.program import Inputs, Outputs, place
from rljax.scanned.run import Programs, ScannedRun, evaluation_points, scanned_run, why_not

__all__ = [
  'Inputs',
  'Outputs',
  'Programs',
  'ScannedRun',
  'evaluation_points',
  'place',
  'scanned_run',
  'why_not',
]
