"""What it costs to score short answers, and whether the verdicts are right, on a fixed mix.

  python experiments/graders/run.py --out=runs/graders --publish

The mix is made here from a seed, so each completion's verdict is known. results.json and table.md
are written to <out>; --publish also puts results.json beside this file and the table into its
README. Needs math-verify: pip install '.[tasks]'.
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import time

from rljax.prompts import Completion, Prompt
from rljax.rewards import Scorer

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
GOAL_SECONDS, GOAL_SLOW = 20.0, 0.1  # of all completions on two processes; share by the slow path
SHARES = {'right': 0.4, 'wrong': 0.4, 'no answer': 0.1, 'hostile': 0.1}
KINDS = {  # of gold answers, in percent
  'integer': 45, 'decimal': 10, 'fraction': 12, 'root': 8, 'polynomial': 8, 'function': 5,
  'interval': 4, 'list': 3, 'word': 2, 'letter': 3,
}  # fmt: skip
FORMS = (
  'So it is \\boxed{{{}}}.',
  'We add them.\n#### {}',
  'The answer is {}. I checked it twice.',
  '<answer>{}</answer>',
  '**Answer:** ${}$',
  'First \\boxed{{17}}, no: \\boxed{{{}}} after 3 steps.',
)
THOUGHTS = 'We write down what is given, then we add 3 and 4 to get 7.\n' * 8


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/graders'))
  parser.add_argument('--count', type=int, default=10_000, help='completions')
  parser.add_argument('--workers', type=int, default=2, help='processes')
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  results = measure(mix(args.count), args.workers, args.rounds)
  table = markdown(results)
  args.out.mkdir(parents=True, exist_ok=True)
  (args.out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
  (args.out / 'table.md').write_text(table)
  if args.publish:
    publish(args.out, table)
  print(table)


# ---------------------------------------------------------------------------------- the mix


def mix(count, seed=0):
  """[(part, kind of the gold answer, completion, whether it is right)], shuffled."""
  rng = random.Random(seed)
  rows = []
  for part, share in SHARES.items():
    for number in range(round(count * share)):
      kind = rng.choices([*KINDS], KINDS.values())[0]
      gold, same, other = problem(rng, kind)
      text = {
        'right': lambda s=same, n=number: THOUGHTS + FORMS[n % len(FORMS)].format(s),
        'wrong': lambda o=other, n=number: THOUGHTS + FORMS[n % len(FORMS)].format(o),
        'no answer': lambda: THOUGHTS + rng.choice(('I cannot say.', '\\boxed{}', 'The answer is')),
        'hostile': lambda: hostile(rng),
      }[part]()
      answer = {'value': gold, 'kind': 'choice'} if kind == 'letter' else gold
      prompt = Prompt(text='?', prompt_id=len(rows), answer=answer)
      completion = Completion(
        prompt=prompt, tokens=(), text=text, truncated=False, draw_id=len(rows)
      )
      rows.append((part, kind, completion, part == 'right'))
  rng.shuffle(rows)
  return rows


def problem(rng, kind):
  """(gold answer, the same in another form, another answer)."""
  a, b, c = rng.sample(range(2, 60), 3)
  n = rng.randrange(1000, 99_999)
  return {
    'integer': (str(n), rng.choice((f'{n:,}', f'{n}.0', f'{n} apples', f'\\${n}')), str(n + a)),
    'decimal': (f'{n / 100}', rng.choice((f'\\frac{{{n}}}{{100}}', f'{n}e-2')), f'{n / 1000}'),
    'fraction': (f'\\frac{{{a}}}{{{b}}}', f'{a * c}/{b * c}', f'\\frac{{{b}}}{{{a}}}'),
    'root': (f'{a}\\sqrt{{{b}}}', f'\\sqrt{{{a * a * b}}}', f'{a}\\sqrt{{{b + 1}}}'),
    'polynomial': (f'x^2+{a + b}x+{a * b}', f'(x+{a})(x+{b})', f'(x+{a})(x-{b})'),
    'function': (f'\\ln {a * b}', f'\\ln {a} + \\ln {b}', f'\\ln {a} + \\ln {b + 1}'),
    'interval': (f'[{a}, {a + b})', f'{a} \\le x < {a + b}', f'[{a}, {a + b}]'),
    'list': (f'{a}, {-b}', f'\\{{{-b}, {a}\\}}', f'{a}, {b}'),
    'word': ('Evelyn', '\\text{Evelyn}', rng.choice(('Briana', 'Carla'))),
    'letter': ('B', '(B)', rng.choice('ACD')),
  }[kind]


def hostile(rng):
  """A completion that is meant to cost much."""
  digit = rng.randrange(2, 10)
  return rng.choice(
    (
      f'\\boxed{{{digit}**{digit}**{digit}**{digit}}}',
      f'The answer is {digit}^{{{digit}^{{{digit}^{{99}}}}}}',
      f'#### {digit}' + '0' * 20_000,
      f'\\boxed{{{digit}}}{{' * 2500,
      '\\boxed{' * 3000 + str(digit),
      f'\\boxed{{{"(" * 9000}{digit}{")" * 9000}}}',
      f'<answer>{digit} {"word " * 4000}</answer>',
      f'The answer is (x+y+z+{digit})^{{64}}',
      f'\\boxed{{\\frac{{{digit}}}',
      f'\\boxed{{{digit * 12345}!}}',
      'answer: ' * 2500 + f'{digit}}}',
    )
  )


# ---------------------------------------------------------------------------------- the time


def measure(rows, workers, rounds):
  """Seconds of all and of each part, and the verdicts that are not the right ones."""
  completions = [completion for _, _, completion, _ in rows]
  # Every process has imported what it needs, as in a run that has begun.
  warm = [
    Completion(prompt=Prompt(text='?', prompt_id=i, answer='\\ln 6'), tokens=(), truncated=False,
               text='\\boxed{\\ln 2 + \\ln 3}') for i in range(64 * max(workers, 1))
  ]  # fmt: skip
  with Scorer('rewards.short_answer', workers=workers) as scorer:
    begin = time.monotonic()
    scorer.score(warm)
    start = time.monotonic() - begin
    whole = [timed(scorer, completions) for _ in range(rounds)]
    scores = whole[-1][1]
    load = os.getloadavg()[0]
    parts = {part: part_of(scorer, rows, scores, part, rounds) for part in SHARES}
  return {
    'machine': f'{platform.machine()}, {os.cpu_count()} cores',
    'load': round(load, 1),
    'workers': workers,
    'completions': len(rows),
    'start_seconds': round(start, 3),
    'seconds': [round(seconds, 3) for seconds, _ in whole],
    'slow_share': float(scores.components['slow_path'].mean()),
    'undecided_share': float(scores.components['undecided'].mean()),
    'errors': scores.errors,
    'timeouts': scores.timeouts,
    'parts': parts,
    'kinds': dict(collections.Counter(kind for _, kind, _, _ in rows)),
  }


def timed(scorer, completions):
  """(seconds, scores)."""
  begin = time.monotonic()
  scores = scorer.score(completions)
  return time.monotonic() - begin, scores


def part_of(scorer, rows, scores, part, rounds):
  """What one part of the mix costs by itself, and how often its verdict is wrong."""
  places = [i for i, row in enumerate(rows) if row[0] == part]
  chosen = [rows[i][2] for i in places]
  seconds = statistics.median(timed(scorer, chosen)[0] for _ in range(rounds))
  accepted = [bool(scores.rewards[i] == 1) for i in places]
  return {
    'completions': len(places),
    'microseconds': round(1e6 * seconds / max(len(places), 1), 1),
    'slow_share': float(scores.components['slow_path'][places].mean()),
    'false_accepts': sum(a and not rows[i][3] for a, i in zip(accepted, places)),
    'false_rejects': sum(rows[i][3] and not a for a, i in zip(accepted, places)),
  }


def markdown(results):
  """The tables of the README."""
  lines = [
    '| completions | share | µs each | by the slow path | wrongly accepted | wrongly rejected |',
    '|---|---|---|---|---|---|',
  ]
  for part, found in results['parts'].items():
    share = found['completions'] / results['completions']
    lines.append(
      f'| {part} | {100 * share:.0f} % | {found["microseconds"]:.0f} '
      f'| {100 * found["slow_share"]:.1f} % | {found["false_accepts"]} '
      f'| {found["false_rejects"]} |'
    )
  median = statistics.median(results['seconds'])
  goals = (
    (f'{median:.2f} s for {results["completions"]:,} completions', median <= GOAL_SECONDS,
     f'{GOAL_SECONDS:.0f} s'),
    (f'{100 * results["slow_share"]:.1f} % by the slow path', results['slow_share'] <= GOAL_SLOW,
     f'{100 * GOAL_SLOW:.0f} %'),
  )  # fmt: skip
  lines.append('')
  for what, is_reached, goal in goals:
    lines.append(f'- {what}; goal: at most {goal}, {"reached" if is_reached else "**missed**"}')
  lines += [
    f'- {results["undecided_share"]:.2%} undecided, {results["errors"]} errors, '
    f'{results["timeouts"]} over the limit of time',
    f'- {results["workers"]} processes on {results["machine"]}, median of '
    f'{len(results["seconds"])} rounds ({min(results["seconds"]):.2f} … '
    f'{max(results["seconds"]):.2f} s); load of the machine {results["load"]} (a quiet one has '
    f'about {results["workers"]}); {results["start_seconds"]:.1f} s more to start and to import '
    'SymPy',
    '',
  ]
  return '\n'.join(lines)


def publish(out, table):
  """The results into this folder, the table between the markers of the README."""
  shutil.copyfile(out / 'results.json', HERE / 'results.json')
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(MARKERS[0])
  readme.write_text(f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{rest.split(MARKERS[1])[1]}')


if __name__ == '__main__':
  main()
