"""Environments: what answers a policy's turns. Importing this loads neither jax nor a data set."""

from rljax.environments.adapters import gymnasium_style as gymnasium_style
from rljax.environments.adapters import verifiers_style as verifiers_style
from rljax.environments.calculator import calculator as calculator
from rljax.environments.guessing import guessing as guessing
from rljax.environments.protocol import Environment as Environment
from rljax.environments.protocol import Episode as Episode
from rljax.environments.protocol import Reply as Reply
from rljax.environments.protocol import Turn as Turn
from rljax.environments.python import python as python
from rljax.environments.search import search as search
from rljax.environments.tools import tools as tools
from rljax.environments.users import user as user
