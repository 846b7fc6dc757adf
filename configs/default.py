"""The knobs of a run, each with its unit and its reason; other configs change what differs.

A node with a `name` stands for a function; its hyper-parameters have their defaults in the
function's signature and stand here only where they differ. `rljax train` prints and saves the
resolved config, which shows all of them.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    dict(
      seed=0,  # drives initialisation, data order, draws and reward workers
      deterministic=False,  # GPUs: the same bits in each run, at a price; elsewhere it is so anyway
      stages=('sft', 'rl'),  # in this order; each names a key below, which says its `kind`
      task=dict(name='tasks.countdown'),  # prompts, their reward, their evaluation
      environment=None,  # or dict(name='environments.tools', …): what answers the policy's turns
      tokenizer=dict(name='tokenization.byte_level'),  # fits every text
      # `path`: files to start from: an HF directory, a work directory of rljax or hf://owner/name
      # (downloads); the other fields then override what the files say. '' = random parameters.
      model=dict(name='models.decoder', path=''),
      lora=None,  # or 'models.lora': the policy's weights stand still, small adapters are trained
      draft=dict(name='models.decoder', path=''),  # guesses tokens for sampler.speculate='draft'
      # Devices along each axis; -1 = all that are left. `sequence` divides long rows, `expert`
      # experts; tests hold results equal on all meshes.
      mesh=dict(data=1, fsdp=-1, tensor=1, sequence=1, expert=1),
      sample_mesh=dict(data=0, fsdp=0, tensor=0, sequence=0, expert=0),  # 0 = as in `mesh`
      devices=dict(
        train='',  # '0:4' = the first four of jax.devices(); '' = all
        sample='',  # '4:8' = the sampler has devices of its own; '' = those of `train`
      ),
      rules=dict(  # which axes of parameters stand on which axes of the mesh; see rljax/rules.py
        policy=dict(name='rules.ep'),  # or dp, fsdp, fsdp_tp, fsdp_tp_sp, table, one's own
        sample=None,  # of the copy that samples; None = the policy's, whole along data and fsdp
        reference=None,  # None = the policy's, and so for the following
        value=None,  # of a critic
        reward=None,  # of a reward model
        teacher=None,
      ),
      offload=dict(  # to the host's memory, while it is not needed: memory of devices against time
        optimizer=False,  # moments; they are fetched for each optimizer step
        reference=False,  # parameters of the reference; they are fetched for each update
      ),
      hosts=dict(  # where several processes run together
        seconds=900.0,  # that one waits for another; rewards get half of it, the rest times out
        silence=60.0,  # seconds without a sign of life after which one counts as gone
      ),
      rewards=dict(
        reward=None,  # or the dotted name of a function, or dict(name=…, …); None = the task's own
        workers=2,  # processes; 0 = score in this one, without limits
        cpu_seconds=5.0,  # of CPU time for one completion; 5 times as much of wall-clock time
        memory_mib=1024,  # MiB of one worker
      ),
      evaluation=dict(
        num_prompts=512,  # held-out prompts; 512 carry about 1.6 points of prompt noise
        samples=64,  # completions of one prompt for avg@n and pass@k; at least max(ks)
        ks=(1, 2, 4, 8, 16, 32, 64),
        temperature=1.0,  # of the samples; greedy accuracy is measured besides
        overlap=13,  # words in a row that held-out and training prompts may not share; 0 = any
        every=0,  # iterations between evaluations; 0 = only before the RL stage and at the end
        batch=1024,  # completions sampled at once; more is faster until memory ends
      ),
      writers=('console', 'jsonl', 'tensorboard'),  # and 'wandb' with its extra installed
      checkpoint_every=20,  # iterations; writing is asynchronous and costs little
      keep_checkpoints=2,  # the latest ones; two survive a kill while one is written
      health_check=True,  # stop early if nothing can be learnt (equal rewards, no end of text)
      health_iterations=3,  # looked at: enough to tell bad luck from a broken set-up
      guard=dict(  # looks at updates that go wrong; batches and samples of them are saved
        nonfinite='skip',  # a step whose loss, gradient or batch is not finite; 'stop' ends the run
        skips=5,  # iterations in a row with such a step that end the run all the same
        batches=3,  # of such iterations that are saved, for `rljax replay`
        spike=10.0,  # times its running median: a gradient norm or KL to be recorded; 0 = none is
        window=32,  # iterations of the running median; none is a spike before they are there
        samples=32,  # recorded of such an iteration, those that changed most first
      ),
      sft=_sft(),
      preference=_preference(),
      reward_model=_reward_model(),
      process_reward_model=_process_reward_model(),
      distill=_distill(),
      rehearsal=_rehearsal(),
      rl=_rl(),
      masked_rl=_masked_rl(),
      interleaved=_interleaved(),
    ),
    type_safe=False,
  )


def _sft() -> dict:
  """Supervised warm-up on the task's demonstrations."""
  return dict(
    kind='sft',
    iterations=1000,  # one optimizer step each
    prompts=64,  # demonstrations of one iteration
    max_length=256,  # tokens of a prompt and its demonstration; a longer one is an error
    stop_accuracy=0.0,  # fraction: stop when pass@1 on other held-out prompts is this; 0 = never
    stop_every=50,  # iterations between looks at it
    curriculum=dict(name='curriculum.uniform'),  # which prompts come next
    loss=dict(name='losses.nll'),
    weights=dict(name='weighting.token_mean'),
    optimizer=dict(name='optimizers.adamw', learning_rate=1e-3),
    **_rows(),
  )


def _preference() -> dict:
  """The policy learns from completions of known order, beside the reference with which it began."""
  return dict(
    kind='preference',
    candidates=2,  # completions of one prompt; 2 = pairs
    labels='utility',  # rewards: how good each is; 'sign': 1 for the best, −1 for the others
    mismatched=False,  # besides, a completion of another prompt: losses.kto measures its KL on it
    advantage=None,  # or a function of the utilities, for a loss of tokens: offline RL
    loss=dict(name='losses.dpo'),
    weights=dict(name='weighting.group_mean'),
    selections={},  # name -> function: what carries the loss
    optimizer=dict(name='optimizers.adamw', learning_rate=1e-4),
    **_given(),
  )


def _reward_model() -> dict:
  """A model with a head learns the same order; it begins as the policy, or as its own node says."""
  return dict(
    kind='reward_model',
    candidates=2,  # completions of one prompt; 2 = pairs
    labels='utility',  # rewards: how good each is; 'sign': 1 for the best, −1 for the others
    reward_model=None,  # or dict(name='models.decoder', path='', …): a model of its own
    loss=dict(name='losses.bradley_terry'),
    weights=dict(name='weighting.group_mean'),
    optimizer=dict(name='optimizers.adamw', learning_rate=3e-4),
    **_given(),
  )


def _process_reward_model() -> dict:
  """A model with a head learns which steps of a completion are right."""
  return dict(
    kind='process_reward_model',
    reward_model=None,  # or dict(name='models.decoder', path='', …): a model of its own
    loss=dict(name='losses.step_cross_entropy'),
    weights=dict(name='weighting.token_mean'),
    optimizer=dict(name='optimizers.adamw', learning_rate=3e-4),
    **_given(),
  )


def _given() -> dict:
  """Stages that learn from completions that the task gives."""
  return dict(
    iterations=300,  # one optimizer step each
    prompts=32,  # of one iteration
    max_length=256,  # tokens of a prompt and its completion; a longer one is an error
    curriculum=dict(name='curriculum.uniform'),  # which prompts come next
    **_rows(),
  )


def _distill() -> dict:
  """A teacher's distribution at the tokens of samples; no reward is learnt from."""
  return dict(
    _rl(),
    kind='distill',
    on_policy_fraction=1.0,  # of the iterations: samples of the student; else of the teacher
    teacher=dict(name='models.decoder', path=''),  # a work directory or an HF directory
    loss=dict(name='losses.reverse_distillation'),
    advantage=None,
  )


def _rehearsal() -> dict:
  """Reinforcement beside what the policy that the stage began with said where it was right."""
  return dict(
    _rl(),
    kind='rehearsal',
    pool_prompts=256,  # sampled once, by the policy of the start
    pool_solved=0.9,  # fraction: a prompt with this mean reward is rehearsed, and not sampled again
    pool_share=0.25,  # of the groups of an iteration: completions of the pool
    auxiliary=dict(name='regularizers.rehearsal'),
    auxiliary_coef=0.1,
    selections=dict(own=dict(name='selection.own_samples')),
  )


def _interleaved() -> dict:
  """RL that stops for supervised steps on the prompts that it does not solve."""
  return dict(
    _rl(),
    kind='interleaved',
    buffer=64,  # prompts that wait before they are learnt from what `sources` have
    hard_accuracy=0.0,  # mean reward up to which a prompt waits; 0 = all samples are wrong
    tuning=dict(
      minibatches=1,  # supervised steps on a full buffer
      loss=dict(name='losses.nll'),
      weights=dict(name='weighting.token_mean'),
    ),
  )


def _rl() -> dict:
  """Group-relative policy gradients, strictly on-policy: one step for each rollout."""
  return dict(
    kind='rl',
    iterations=100,
    prompts=32,  # of one iteration
    samples=8,  # completions of one prompt = size of a group
    max_prompt=128,  # tokens; a longer prompt is an error, never cut
    max_new_tokens=128,  # tokens of a completion, the end of text included
    temperature=1.0,  # of the samples; the log-probs of the update are taken at it too
    temperature_controller=None,  # or dict(name='rollouts.entropy_temperature', …): moves it
    top_k=0,  # 0 = off. Filters sample from another distribution than the one that is trained
    top_p=1.0,  # fraction; 1 = off
    min_p=0.0,  # fraction; 0 = off
    sampler=dict(  # nothing here but int8 changes which tokens are drawn
      slots=0,  # completions decoded at once; 0 = all. Fewer: one that ends makes room for the next
      window=8,  # decode steps between two looks at which have ended
      drains=1,  # how often the slots are halved at the end, when half of them are free
      prompts_at_once=0,  # prompts prefilled together; 0 = as many as fill the slots
      cache_dtype='',  # of keys and values; '' = compute dtype; 'int8' halves or quarters them
      speculate='',  # guess tokens: 'lookup', what has followed the last ones before; 'draft'
      num_draft=4,  # tokens guessed at a step, where any are
    ),
    replay_routing=False,  # of a model with experts: the update asks those that the sampler asked
    max_staleness=0,  # iterations that a rollout waits for its update: a sampler that far ahead
    epochs=1,  # passes over one rollout
    minibatches=1,  # optimizer steps of one pass
    curriculum=dict(name='curriculum.uniform'),  # which prompts come next
    rollout=dict(name='rollouts.single_turn'),  # how prompts become samples
    sources={},  # name -> function of rollouts.sources: who else writes completions
    extras=(),  # names of the arrays that the rollout strategy makes, for functions that ask
    reward_components=(),  # of the reward, 'reward' itself included, that a function asks for
    reward_shaping={},  # name -> function, in the order of the names: rewards before the advantage
    advantage=dict(name='advantages.group_normalize'),
    advantage_shaping={},  # name -> function, in the order of the names: advantages after it
    selections={},  # name -> function: which tokens and samples carry the policy loss
    correction=None,  # or a function of corrections: weights for a sampler that is not the trainer
    derived={},  # name of an array -> function that makes it before the update, for a loss
    weights=dict(name='weighting.token_mean'),
    loss=dict(name='losses.clipped_surrogate'),
    old_logprobs='recompute',  # or 'sampler': its own serve as the old ones, one pass less
    auxiliary=None,  # or one more token loss, over all sampled tokens
    auxiliary_coef=0.0,
    teacher=None,  # or dict(name='models.decoder', path=…): for functions that ask for it
    jsd_beta=0.5,  # of teacher_jsd: 0 = KL(teacher ‖ policy), 1 = KL(policy ‖ teacher)
    teacher_top_k=32,  # tokens of teacher_top_k_kl
    kl=dict(name='regularizers.reverse_kl'),
    kl_coef=0.0,  # reward per nat; 0 = neither reference parameters nor their forward pass
    kl_placement='loss',  # or 'reward', with regularizers.kl_reward
    kl_controller=None,  # or dict(name='regularizers.adaptive_kl', …): moves kl_coef
    reference_every=0,  # iterations between updates of the reference; 0 = it stays
    reference_trigger=None,  # or dict(name='regularizers.reward_stalls', …): when else it moves
    reference_resets_optimizer=False,  # whether the optimizer begins anew with it
    reference_update=dict(name='regularizers.reference_average'),
    entropy=dict(name='regularizers.entropy_bonus'),
    entropy_coef=0.0,  # reward per nat; 0 = off
    entropy_top_p=1.0,  # of nucleus_entropy: the probability that its tokens reach; 1 = all
    entropy_controller=None,  # or dict(name='regularizers.adaptive_entropy', …): moves it
    value=None,  # or dict(name='losses.clipped_value') for an advantage that needs values
    value_coef=0.1,  # weight of the value loss; small on a trunk that the policy shares
    critic=None,  # or dict(name='models.decoder', path='', …): values by a model of its own
    critic_start='',  # '' = as `critic` says; 'reward_model': the one of an earlier stage
    critic_optimizer=dict(name='optimizers.adamw', learning_rate=1e-5),  # of that model
    optimizer=dict(name='optimizers.adamw'),
    **_rows(),
  )


def _masked_rl() -> dict:
  """The policy says only what a lagged copy of itself, its mask, holds likely."""
  return dict(
    _rl(),
    kind='masked_rl',
    mask_top_p=0.9,  # fraction: the mask's best tokens that reach it may be said
    mask_every=20,  # optimizer steps until the mask becomes the policy again
  )


def _rows() -> dict:
  """The shape of the batches of the update."""
  return dict(
    rows=8,  # of one micro-batch, a multiple of the devices on data, fsdp and expert
    row_length=0,  # tokens; 0 = the smallest multiple of 128 that holds one maximal sample
    packed=True,  # several samples in one row: less padding, same loss and gradient
    share_prompts=False,  # a prompt once for its samples of a row: fewer tokens, longer attention
    chunk_size=512,  # tokens whose logits exist at once: memory against speed
  )
