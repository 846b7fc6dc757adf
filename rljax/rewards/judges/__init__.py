"""Models as judges: rewards that ask a model, and a client for servers that speak OpenAI's format.

A judge takes `generate`, a function from conversations to replies: a client of this package, in a
config node `dict(name='rewards.judges.Client', base_url=…, model=…)`, or any function. A reply that
cannot be read leaves its sample without a reward and is counted as an error.

Judges see a whole batch, so that all requests are under way together. In a worker process the time
limits of `Scorer` hold from reply to reply: they must be longer than the client's own. With
`workers=0` only the client's hold, and only then can `generate` be a function that needs this
process, such as one that samples from a policy.
"""

from rljax.rewards.judges.client import Client as Client
from rljax.rewards.judges.conversation import JudgeError as JudgeError
from rljax.rewards.judges.conversation import Reply as Reply
from rljax.rewards.judges.pairwise import compare as compare
from rljax.rewards.judges.pairwise import preferred as preferred
from rljax.rewards.judges.rubric import graded as graded
from rljax.rewards.judges.rubric import rubric_score as rubric_score
from rljax.rewards.judges.scalar import scored as scored
from rljax.rewards.judges.verifier import verified as verified
