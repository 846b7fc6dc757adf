"""Tunix' sampler on the prompts of the work, without early stop, log-probs recorded."""

import tunix_model
from serve import Channel, peak_mib, serve


def main():
  channel = Channel()
  work = channel.work
  model, mesh = tunix_model.make_model(work)
  sampler = tunix_model.make_sampler(work, model)
  prompts = [p for p in tunix_model.texts(work) for _ in range(work['samples'])]
  count = 0

  def run():
    nonlocal count
    count += 1
    with mesh:
      out = sampler(
        prompts,
        max_generation_steps=work['completion'],
        max_prompt_length=work['prompt'],
        temperature=1.0,
        top_p=1.0,
        top_k=None,
        seed=count,
        eos_tokens=[tunix_model.NEVER],
        return_logprobs=True,
      )
    return {'tokens': sum(len(ids) for ids in out.tokens), 'peak_mib': peak_mib()}

  channel.say(
    parameters=tunix_model.count(model), versions=tunix_model.versions(), device='cpu'
  )
  serve(channel, run)


if __name__ == '__main__':
  main()
