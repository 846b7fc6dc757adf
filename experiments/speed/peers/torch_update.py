"""A GRPO-like training step in torch: float32 weights, autocast to bfloat16, fused AdamW."""

import torch
import torch_model  # before transformers: says that nothing is downloaded
from serve import Channel, peak_mib, serve


def main():
  channel = Channel()
  work = channel.work
  device = torch_model.set_up(work)
  mixed = work['shape']['dtype'] == 'bfloat16'
  work['shape']['dtype'] = 'float32'
  model = torch_model.make_model(work, device).train()
  if work['checkpointing']:
    model.gradient_checkpointing_enable()
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=work['learning_rate'], fused=device == 'cuda'
  )
  samples = len(work['prompts']) * work['samples']
  length = work['prompt'] + work['completion']
  vocab = work['shape']['vocab_size']
  tokens = torch.randint(2, vocab, (samples, length), device=device)
  advantages = torch.randn(samples, 1, device=device)

  def run():
    for start in range(0, samples, work['micro']):
      part = slice(start, start + work['micro'])
      with torch.autocast(device, torch.bfloat16, enabled=mixed):
        logprobs = completion_logprobs(model, tokens[part], work['completion'])
      loss = clipped(logprobs, advantages[part]) / samples
      loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if device == 'cuda':
      torch.cuda.synchronize()
    return {'trained_tokens': tokens.numel(), 'grad_norm': float(norm), 'peak_mib': peak(device)}

  parameters = sum(p.numel() for p in model.parameters())
  channel.say(parameters=parameters, versions=torch_model.versions(), device=device)
  serve(channel, run)


def completion_logprobs(model, tokens, completion):
  """[B, C]; logits of the completion's tokens only."""
  logits = model(tokens, logits_to_keep=completion + 1, use_cache=False).logits[:, :-1]
  chosen = logits.float().log_softmax(-1).gather(-1, tokens[:, -completion:, None])
  return chosen[..., 0]


def clipped(logprobs, advantages):
  """The clipped surrogate, on-policy: a sum over samples of the mean over tokens."""
  ratio = (logprobs - logprobs.detach()).exp()
  gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
  return -gain.mean(1).sum()


def peak(device):
  return torch.cuda.max_memory_allocated() / 2**20 if device == 'cuda' else peak_mib()


if __name__ == '__main__':
  main()
