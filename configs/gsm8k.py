"""Grade-school maths with a pretrained model: group-relative RL on the training split of GSM8K.

Cobbe et al., "Training verifiers to solve math word problems", arXiv 2110.14168. The model and its
tokenizer come from an HF directory, a work directory of rljax or hf://owner/name (downloads):

  rljax train --config=gsm8k --config.model.path=hf://Qwen/Qwen2.5-0.5B-Instruct

Differs from `default`: no SFT stage, bfloat16 computation, completions of up to 512 tokens.
Expected result: none measured yet.
"""

import rljax


def get_config():
  config = rljax.load_config('default')
  config.stages = ('rl',)
  config.task = dict(name='tasks.gsm8k')
  config.tokenizer = dict(name='tokenization.huggingface')  # from the model's directory
  config.model.update(compute_dtype='bfloat16', remat='full')

  config.evaluation.samples = 4
  config.evaluation.ks = (1, 4)
  config.evaluation.batch = 256

  config.rl.update(iterations=200, prompts=64, samples=8, max_prompt=384, max_new_tokens=512)
  config.rl.optimizer.learning_rate = 1e-6
  return config
