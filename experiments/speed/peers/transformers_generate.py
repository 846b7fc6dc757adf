"""transformers `generate` on the prompts of the work, without early stop."""

import torch
import torch_model  # before transformers: says that nothing is downloaded
import transformers
from serve import Channel, peak_mib, serve


def main():
  channel = Channel()
  work = channel.work
  device = torch_model.set_up(work)
  model = torch_model.make_model(work, device).eval()
  prompts = torch.tensor(work['prompts'], device=device)
  prompts = prompts.repeat_interleave(work['samples'], dim=0)
  mask = torch.ones_like(prompts)
  settings = transformers.GenerationConfig(
    do_sample=True,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    max_new_tokens=work['completion'],
    min_new_tokens=work['completion'],
    pad_token_id=0,
    eos_token_id=None,
    **({'cache_implementation': work['cache']} if work.get('cache') else {}),
  )

  def run():
    with torch.no_grad():
      out = model.generate(prompts, attention_mask=mask, generation_config=settings)
    if device == 'cuda':
      torch.cuda.synchronize()
    return {'tokens': out[:, prompts.shape[1] :].numel(), 'peak_mib': peak_mib()}

  parameters = sum(p.numel() for p in model.parameters())
  channel.say(parameters=parameters, versions=torch_model.versions(), device=device)
  serve(channel, run)


if __name__ == '__main__':
  main()
