"""Worked steps on token arrays: the pure jax half of arithmetic and countdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax.tasks.steps import ALPHABET

Array = jax.Array

_OTHER = len(ALPHABET)  # a token that is no character of steps
_OUTSIDE = -1  # behind the end of a completion, or no part of its text
_FIRST = 2  # smaller ids are the tokenizer's own, which decoding drops
_PLUS, _MINUS, _TIMES, _EQUALS, _COMMA = range(ALPHABET.index('+'), ALPHABET.index('+') + 5)


class Chosen(NamedTuple):
  """The characters `characters[index]`, one for each row; a piece for `write`."""

  characters: str
  index: Array


# -- text


def write(pieces: Sequence[Array | str | Chosen], ids: Sequence[int], largest: int):
  """Writes one line a row from numbers and characters.

  Args:
    pieces: int32 [Q] numbers ≥ 0, characters that are the same in all rows, or `Chosen`.
    ids: token id of each character of ALPHABET.
    largest: number that sets the room for digits.

  Returns:
    (tokens int32 [Q, P], right padded with 0, length int32 [Q]).
  """
  rows = next(p.shape[0] for p in pieces if not isinstance(p, str | Chosen))
  places = len(str(largest))
  columns, used = [], []
  for piece in pieces:
    if isinstance(piece, str):
      columns.append(jnp.full((rows, 1), ALPHABET.index(piece)))
      used.append(jnp.ones((rows, 1), bool))
    elif isinstance(piece, Chosen):
      table = jnp.array([ALPHABET.index(c) for c in piece.characters])
      columns.append(table[piece.index][:, None])
      used.append(jnp.ones((rows, 1), bool))
    else:
      powers = 10 ** jnp.arange(places - 1, -1, -1)
      columns.append(piece[:, None] // powers[None, :] % 10)
      used.append((piece[:, None] >= powers[None, :]) | (powers == 1)[None, :])
  symbols, mask = jnp.concatenate(columns, axis=1), jnp.concatenate(used, axis=1)
  order = jnp.argsort(~mask, axis=1, stable=True)
  tokens = jnp.take_along_axis(jnp.asarray(ids, jnp.int32)[symbols], order, axis=1)
  length = jnp.sum(mask, axis=1, dtype=jnp.int32)
  inside = jnp.arange(tokens.shape[1])[None, :] < length[:, None]
  return jnp.where(inside, tokens, 0).astype(jnp.int32), length


def _symbols(tokens: Array, length: Array, ids: Sequence[int]) -> Array:
  """[N, C] -> [C + 1, N]: places in ALPHABET; the end of a completion closes a step as a comma."""
  match = tokens[:, :, None] == jnp.asarray(ids, jnp.int32)[None, None, :]
  symbols = jnp.where(match.any(-1), match.argmax(-1), _OTHER)
  symbols = jnp.where(tokens < _FIRST, _OUTSIDE, symbols)
  symbols = jnp.pad(symbols, ((0, 0), (0, 1)))
  places = jnp.arange(symbols.shape[1])[None, :]
  symbols = jnp.where(places == length[:, None], _COMMA, symbols)
  return jnp.where(places <= length[:, None], symbols, _OUTSIDE).T


class _Scan(NamedTuple):
  """An automaton over `a∘b=c,`: all fields [N], `available` and `left` [N, n].

  part: 0, 1, 2 = in a, b, c. value, digits: of the number at hand. closed: steps so far.
  """

  part: Array
  value: Array
  digits: Array
  leading_zero: Array
  operator: Array
  first: Array
  second: Array
  result: Array
  closed: Array
  formed: Array
  true: Array
  available: Array


def _read(tokens: Array, length: Array, ids: Sequence[int], numbers: Array) -> _Scan:
  rows = tokens.shape[0]
  zero, yes = jnp.zeros((rows,), jnp.int32), jnp.ones((rows,), bool)
  start = _Scan(zero, zero, zero, ~yes, zero, zero, zero, zero, zero, yes, yes, numbers)
  end, _ = jax.lax.scan(_advance, start, _symbols(tokens, length, ids))
  return end


def _advance(s: _Scan, symbol: Array) -> tuple[_Scan, None]:
  active = symbol >= 0
  digit = active & (symbol < 10)
  operator = (symbol >= _PLUS) & (symbol <= _TIMES)
  equals, comma = symbol == _EQUALS, symbol == _COMMA
  number = (s.digits >= 1) & (s.digits <= 4) & (~s.leading_zero | (s.digits == 1))
  fits = number & (
    (operator & (s.part == 0)) | (equals & (s.part == 1)) | (comma & (s.part == 2))
  )
  formed = s.formed & (~active | digit | fits)
  digits = jnp.where(digit, jnp.minimum(s.digits + 1, 5), jnp.where(active, 0, s.digits))
  grown = jnp.where(s.digits < 4, s.value * 10 + symbol, s.value)
  value = jnp.where(digit, grown, jnp.where(active, 0, s.value))
  leading_zero = jnp.where(digit & (s.digits == 0), symbol == 0, s.leading_zero & digit)
  part = jnp.where(operator, 1, jnp.where(equals, 2, jnp.where(comma, 0, s.part)))
  moved = s._replace(
    part=part,
    value=value,
    digits=digits,
    leading_zero=jnp.where(active, leading_zero, s.leading_zero),
    operator=jnp.where(operator, symbol, s.operator),
    first=jnp.where(operator, s.value, s.first),
    second=jnp.where(equals, s.value, s.second),
    result=jnp.where(comma, s.value, s.result),
    closed=s.closed + comma,
    formed=formed,
  )
  return _use(moved, comma), None


def _use(s: _Scan, comma: Array) -> _Scan:
  """Takes the two numbers of a closed step and puts its result in their place."""
  value = apply(s.first, s.operator - _PLUS, s.second)
  available, true = s.available, s.true & (~comma | (value == s.result))
  for number in (s.first, s.second):
    match = available == number[:, None]
    hit = match & (jnp.cumsum(match, axis=1) == 1) & comma[:, None]
    true &= ~comma | hit.any(1)
    available = jnp.where(hit, -1, available)
  free = available < 0
  place = free & (jnp.cumsum(free, axis=1) == 1) & comma[:, None]
  available = jnp.where(place, s.result[:, None], available)
  return s._replace(available=available, true=true)


def apply(left: Array, operator: Array, right: Array) -> Array:
  """left ∘ right with operator 0, 1, 2 = + − ×."""
  difference_or_product = jnp.where(operator == 1, left - right, left * right)
  return jnp.where(operator == 0, left + right, difference_or_product)


# -- rewards


def countdown_reward(
  tokens: Array, length: Array, numbers: Array, target: Array, ids: Sequence[int]
) -> Array:
  """`tasks.countdown.reward` on tokens [N, C], length [N], numbers [N, n], target [N] -> [N]."""
  end = _read(tokens, length, ids, numbers)
  alone = jnp.sum(end.available >= 0, axis=1) == 1
  reached = (end.available == target[:, None]).any(1)
  return (end.formed & end.true & alone & reached).astype(jnp.float32)


def arithmetic_reward(tokens: Array, length: Array, value: Array, ids: Sequence[int]) -> Array:
  """`tasks.arithmetic.reward` on tokens [N, C], length [N], value [N] -> float32 [N]."""
  end = _read(tokens, length, ids, jnp.zeros((tokens.shape[0], 1), jnp.int32))
  return (end.formed & (end.result == value)).astype(jnp.float32)


# -- problems


def mix(values: Array, length: Array | None = None) -> Array:
  """`procedural.mix` of the first `length` [Q] values of each row: int32 [Q, n] -> uint32 [Q]."""
  state = jnp.full(values.shape[:-1], 0x9E3779B9, jnp.uint32)
  for i in range(values.shape[-1]):
    mixed = (state ^ values[..., i].astype(jnp.uint32)) * jnp.uint32(0x85EBCA6B)
    mixed ^= mixed >> jnp.uint32(13)
    mixed *= jnp.uint32(0xC2B2AE35)
    mixed ^= mixed >> jnp.uint32(16)
    state = mixed if length is None else jnp.where(i < length, mixed, state)
  return state


def until_all_good(key: Array, propose) -> dict[str, Array]:
  """Draws rows again until all are good; `propose(key) -> (rows, good)`."""

  def body(state):
    key, rows, good = state
    key, now = jax.random.split(key)
    fresh, fresh_good = propose(now)

    def choose(old, new):
      return jnp.where(good.reshape(good.shape + (1,) * (old.ndim - 1)), old, new)

    return key, jax.tree.map(choose, rows, fresh), good | fresh_good

  key, now = jax.random.split(key)
  start = (key, *propose(now))
  return jax.lax.while_loop(lambda state: ~state[2].all(), body, start)[1]


def countdown_problems(
  key, num, *, num_numbers, low, high, max_value, operators, held_out_below
) -> tuple[Array, Array]:
  """Training problems: (numbers int32 [num, num_numbers], target int32 [num])."""
  codes = jnp.array(['+-*'.index(o) for o in operators])

  def propose(key):
    drawn, chosen, *order = jax.random.split(key, num_numbers + 1)
    numbers = jax.random.randint(drawn, (num, num_numbers), low, high + 1)
    operator = codes[jax.random.randint(chosen, (num, num_numbers - 1), 0, len(operators))]
    values, good = numbers, jnp.ones((num,), bool)
    for i in range(num_numbers - 1):
      noise = jax.random.uniform(order[i], values.shape)
      values = jnp.take_along_axis(values, jnp.argsort(noise, axis=1), axis=1)
      value = apply(values[:, 0], operator[:, i], values[:, 1])
      good &= (value >= 1) & (value <= max_value)
      values = jnp.concatenate([jnp.clip(value, 0, max_value)[:, None], values[:, 2:]], axis=1)
    target = values[:, 0]
    problem = jnp.concatenate([jnp.sort(numbers, axis=1), target[:, None]], axis=1)
    good &= mix(problem) >= jnp.uint32(held_out_below)
    return (numbers, target), good

  return until_all_good(key, propose)


def arithmetic_problems(
  key, num, *, num_operands, low, high, max_value, operators, held_out_below
) -> tuple[Array, Array, Array]:
  """Training expressions: (operands [num, n], place in `operators` [num, n − 1], value [num])."""
  codes = jnp.array(['+-*'.index(o) for o in operators])

  def propose(key):
    drawn, chosen = jax.random.split(key)
    operands = jax.random.randint(drawn, (num, num_operands), low, high + 1)
    index = jax.random.randint(chosen, (num, num_operands - 1), 0, len(operators))
    good = mix(jnp.sort(operands, axis=1)) >= jnp.uint32(held_out_below)
    # sum ± term × next …: a sum is closed where the next operator is no product
    total, sign, term = jnp.zeros((num,), jnp.int32), 1, operands[:, 0]
    for i in range(num_operands - 1):
      code = codes[index[:, i]]
      times = code == 2
      closed = total + sign * term
      good &= times | ((closed >= 0) & (closed <= max_value))
      product = term * operands[:, i + 1]
      good &= ~times | (product <= max_value)
      total = jnp.where(times, total, closed)
      sign = jnp.where(times, sign, jnp.where(code == 1, -1, 1))
      term = jnp.where(times, jnp.minimum(product, max_value), operands[:, i + 1])
    value = total + sign * term
    good &= (value >= 0) & (value <= max_value)
    return (operands, index, value), good

  return until_all_good(key, propose)
