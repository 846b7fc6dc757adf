"""TRL's GRPOTrainer, one optimizer step a request: it waits within its own training loop."""

import tempfile
import time

import tokenizers
import torch_model  # before transformers: says that nothing is downloaded
import transformers
import trl
from datasets import Dataset
from serve import Channel, peak_mib, share_of_even


def main():
  channel = Channel()
  work = channel.work
  device = torch_model.set_up(work)
  model = torch_model.make_model(work, device)
  prompts = [' '.join(map(str, ids)) for ids in work['prompts']]
  clock = Clock(channel)
  trainer = trl.GRPOTrainer(
    model=model,
    reward_funcs=reward,
    args=arguments(work),
    train_dataset=Dataset.from_dict({'prompt': prompts}),
    processing_class=make_tokenizer(work['shape']['vocab_size']),
    callbacks=[clock],
  )
  clock.watch(trainer)
  channel.say(
    parameters=sum(p.numel() for p in model.parameters()),
    versions={**torch_model.versions(), 'trl': trl.__version__},
    device=device,
  )
  trainer.train()


def make_tokenizer(vocab_size):
  """Words are the decimal ids, but for 0, which pads, and 1, which ends."""
  special = {'<pad>': 0, '<eos>': 1}
  vocab = {**special, **{str(i): i for i in range(2, vocab_size)}}
  tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token='<pad>'))
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token='<pad>', eos_token='<eos>', padding_side='left'
  )


def reward(completions, **_):
  return [share_of_even(text) for text in completions]


def arguments(work):
  """All samples in one optimizer step, in micro-batches of work['micro'] samples."""
  samples = len(work['prompts']) * work['samples']
  accumulation = samples // work['micro']
  return trl.GRPOConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=work['micro'],
    gradient_accumulation_steps=accumulation,
    steps_per_generation=accumulation,
    num_generations=work['samples'],
    num_iterations=1,
    max_completion_length=work['completion'],
    generation_kwargs={'min_new_tokens': work['completion']},
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    beta=0.0,
    learning_rate=work['learning_rate'],
    max_grad_norm=1.0,
    max_steps=10**6,
    lr_scheduler_type='constant',
    gradient_checkpointing=False,
    disable_dropout=True,
    use_cpu=work['device'] == 'cpu',
    bf16=False,
    fp16=False,
    save_strategy='no',
    logging_steps=1,
    report_to=[],
    disable_tqdm=True,
    dataloader_pin_memory=False,
  )


class Clock(transformers.TrainerCallback):
  """Holds each step until it is asked for; its seconds end with the optimizer's step.

  What the trainer does between two steps (loading, logging) is not counted.
  """

  def __init__(self, channel):
    self.channel, self.tokens, self.trained, self.generating = channel, 0, 0, 0.0

  def watch(self, trainer):
    """Notes how long generation takes and how many tokens it makes."""
    generate, score = trainer._generate, trainer._generate_and_score_completions

    def timed(*args, **kwargs):
      started = time.perf_counter()
      found = generate(*args, **kwargs)
      self.generating += time.perf_counter() - started
      return found

    def counted(*args, **kwargs):
      found = score(*args, **kwargs)
      self.tokens += int(found['completion_mask'].sum())
      self.trained += int(found['prompt_mask'].sum() + found['completion_mask'].sum())
      return found

    trainer._generate, trainer._generate_and_score_completions = timed, counted

  def on_step_begin(self, args, state, control, **_):
    self.channel.wait()
    self.tokens, self.trained, self.generating, self.started = 0, 0, 0.0, time.perf_counter()

  def on_step_end(self, args, state, control, **_):
    self.seconds = time.perf_counter() - self.started

  def on_log(self, args, state, control, logs=None, **_):
    self.channel.say(
      seconds=self.seconds,
      generation=self.generating,
      tokens=self.tokens,
      trained_tokens=self.trained,
      grad_norm=float(logs['grad_norm']),
      reward=float(logs['reward']),
      peak_mib=peak_mib(),
    )


if __name__ == '__main__':
  main()
