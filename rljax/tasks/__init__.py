"""Tasks: prompts with their reward. Importing this loads neither jax nor a data set."""

from rljax.tasks.arithmetic import arithmetic as arithmetic
from rljax.tasks.causes import causes as causes
from rljax.tasks.constrained_text import constrained_text as constrained_text
from rljax.tasks.countdown import countdown as countdown
from rljax.tasks.digits import digits as digits
from rljax.tasks.edits import edits as edits
from rljax.tasks.gsm8k import gsm8k as gsm8k
from rljax.tasks.humaneval import humaneval as humaneval
from rljax.tasks.ifeval import ifeval as ifeval
from rljax.tasks.livecodebench import livecodebench as livecodebench
from rljax.tasks.lookup import lookup as lookup
from rljax.tasks.mbpp import mbpp as mbpp
from rljax.tasks.mixture import mixture as mixture
from rljax.tasks.paths import paths as paths
from rljax.tasks.products import products as products
from rljax.tasks.published import published as published
from rljax.tasks.puzzles import puzzles as puzzles
from rljax.tasks.ranking import ranking as ranking
from rljax.tasks.records import records as records
from rljax.tasks.reranking import reranking as reranking
from rljax.tasks.retrieval import retrieval as retrieval
from rljax.tasks.reverse_text import reverse_text as reverse_text
from rljax.tasks.signs import signs as signs
from rljax.tasks.sorting import sorting as sorting
from rljax.tasks.table_questions import table_questions as table_questions
from rljax.tasks.text_to_sql import text_to_sql as text_to_sql
