"""Runs as their files tell them, without anything that was trained."""

from rljax import config, files, metrics

NASTY = '</script><img src=x onerror=alert(1)> \u2028 "quoted" {{title}} & so on'


def written_run(folder):
  """A run of two stages that has not come to its end."""
  resolved = files.plain({**config.resolve(config.load('quickstart')).to_dict(), 'seed': 3})
  resolved['rl']['iterations'] = 700
  files.write_json(folder / 'config.json', {'name': 'quickstart', 'seed': 3, 'config': resolved})
  with metrics.make_writers(('jsonl',), folder, stages={'sft': 4, 'rl': 700}) as writer:
    for i in range(1, 5):
      writer.write(i, {'sft/loss': 4.0 / i, 'update/grad_norm': 1.0}, stage='sft')
    writer.write(0, {'eval/sorting/pass@1': 0.25, 'eval/sorting/pass@4': 0.5}, stage='rl')
    for i in range(1, 701):
      scalars = {'reward/mean': i / 700, 'reward/right': i / 1400, 'policy/entropy': 700 / i}
      scalars |= {'policy/kl_ref': i / 7, 'rollout/length_mean': 9 + 1 / i}
      scalars |= {'method/clipped_surrogate/ratio': 1 + 1 / i, 'method/other/kept': 1.0}
      scalars |= {'group/zero_variance': 1 / i, 'policy/loss': float('nan') if i == 7 else 0.1 * i}
      writer.write(i, scalars, stage='rl')
      rows = [
        {'prompt': f'p{i}', 'completion': NASTY if i == 700 else 'x' * k, 'reward': float(k)}
        | {'components': {'right': k}, 'draw_id': i, 'sample_index': k, 'truncated': k == 1}
        | {'answer': f'a{i}\x1b[2J' if i == 700 else f'a{i}'}
        for k in range(2)
      ]
      writer.samples(i, rows, stage='rl')
    writer.write(700, {'eval/sorting/pass@1': 0.75, 'eval/sorting/pass@4': 0.9}, stage='rl')
  return folder
