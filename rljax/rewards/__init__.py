"""Rewards: scoring in processes with limits, verifiers, controls, rewards made of rewards."""

from rljax.rewards.combinators import all_of as all_of
from rljax.rewards.combinators import calibrated as calibrated
from rljax.rewards.combinators import gated as gated
from rljax.rewards.combinators import routed as routed
from rljax.rewards.combinators import weighted as weighted
from rljax.rewards.controls import inverted as inverted
from rljax.rewards.controls import noisy as noisy
from rljax.rewards.controls import random_reward as random_reward
from rljax.rewards.episodes import episode_return as episode_return
from rljax.rewards.forms import forms as forms
from rljax.rewards.outcomes import coded as coded
from rljax.rewards.scorer import Scorer as Scorer
from rljax.rewards.scorer import Scores as Scores
from rljax.rewards.short_answer import exact_answer as exact_answer
from rljax.rewards.short_answer import short_answer as short_answer
from rljax.rewards.structures import answer_list as answer_list
from rljax.rewards.structures import answer_set as answer_set
from rljax.rewards.structures import choice as choice
from rljax.rewards.structures import json_value as json_value
from rljax.rewards.thinking import after_thinking as after_thinking
from rljax.rewards.tool_calls import tool_calls as tool_calls
