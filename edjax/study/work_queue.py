"""Does many runs, several at a time, each in one process only."""

import collections
import dataclasses
import pathlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence

from edjax.runtime import preemption
from edjax.study import worker
from edjax.study.worker import DONE, FAILED, LOCKED, STOPPED

# Seconds between looks at runs that another process has locked.
POLL = 5.0


@dataclasses.dataclass(frozen=True)
class Job:
  """A run to do.

  Attributes:
    name: of the run.
    directory: of the run.
    config: of the run.
    kinds: keys that runs of similar duration share, the most specific first.
  """

  name: str
  directory: pathlib.Path
  config: object
  kinds: tuple = ()

  @property
  def finished(self) -> bool:
    """Whether its results exist."""
    return (self.directory / 'results.json').exists()

  def failure(self) -> float:
    """Returns the time of its last failure, by its files; 0 for none."""
    try:
      return (self.directory / 'error.txt').stat().st_mtime
    except FileNotFoundError:
      return 0.0


class Queue:
  """Gives jobs to slots, and returns later to jobs that others have locked.

  Args:
    jobs: in the order in which they are to be done.
    watch: watch(event, job, outcome) is called for 'start' and for the status
      of every outcome, one call at a time.
    look: look(job) is called before a job begins, and may fetch results of
      other processes for it.
  """

  def __init__(self, jobs: Sequence[Job], watch: Callable, look: Callable):
    # (job, time of its last failure before this command, whether another
    # process had locked it).
    self._waiting = collections.deque(
      (job, job.failure(), False) for job in jobs if not job.finished
    )
    self._watch, self._look = watch, look
    self._mutex = threading.Lock()
    self._stop = threading.Event()
    self._broken: list[BaseException] = []

  def run(self, slots: Sequence) -> None:
    """Blocks until every job has ended somewhere.

    Args:
      slots: as `worker.ProcessSlot`; closed at the end.

    Raises:
      preemption.PreemptedError: SIGTERM or Ctrl-C; running jobs are saved.
    """
    threads = [
      threading.Thread(target=self._serve, args=(slot,), daemon=True)
      for slot in slots
    ]
    for thread in threads:
      thread.start()
    try:
      with preemption.noticed() as asked_to_stop:
        while alive := [thread for thread in threads if thread.is_alive()]:
          alive[0].join(0.2)
          if asked_to_stop() and not self._stop.is_set():
            self._stop.set()
            for slot in slots:
              slot.stop()
        if asked_to_stop():
          raise preemption.PreemptedError(
            'stopped: the runs are saved; the same command goes on from there'
          )
    except BaseException:  # a second Ctrl-C: nothing is lost but the steps
      self._stop.set()  # since the last checkpoints
      for slot in slots:
        slot.close()
      raise
    if self._broken:
      raise self._broken[0]

  def _serve(self, slot) -> None:
    """Gives jobs to one slot, one after another."""
    try:
      while item := self._next():
        job, failed_before, _ = item
        self._look(job)
        if job.finished:  # by another process
          self._tell(DONE, job)
          continue
        if job.failure() != failed_before:
          outcome = worker.Outcome(FAILED, 0, 'in another process')
          self._tell(FAILED, job, outcome)
          continue
        self._tell('start', job)
        outcome = slot.run(job.config, job.directory)
        if self._stop.is_set() or outcome.status == STOPPED:
          return
        if outcome.status == LOCKED:
          with self._mutex:
            self._waiting.append((job, failed_before, True))
        self._tell(outcome.status, job, outcome)
    except BaseException as error:  # of the runner itself, not of a run
      self._broken.append(error)
      self._stop.set()
    finally:
      slot.close()

  def _next(self) -> tuple[Job, float, bool] | None:
    """Takes a job, after a pause if it was locked; None at the end."""
    with self._mutex:
      item = self._waiting.popleft() if self._waiting else None
    if item and item[2]:
      self._stop.wait(POLL)
    return None if self._stop.is_set() else item

  def _tell(self, event: str, job: Job, outcome=None) -> None:
    with self._mutex:
      self._watch(event, job, outcome)


class Progress:
  """Reports in lines how many jobs are done and left.

  Args:
    jobs: all of them, finished ones included.
    at_once: how many run at a time.
    say: say(line) prints it.
  """

  def __init__(self, jobs: Sequence[Job], at_once: int, say: Callable):
    self._say, self._at_once = say, at_once
    self._total = len(jobs)
    self._left = {job.name: job for job in jobs if not job.finished}
    self._running: dict[str, float] = {}
    self._elsewhere: set[str] = set()
    self._seconds = collections.defaultdict(list)
    self.failed: dict[str, str] = {}
    self._say(self.line())

  def watch(self, event: str, job: Job, outcome) -> None:
    """Counts an event of `Queue`."""
    self._elsewhere.discard(job.name)
    if event == 'start':
      self._running[job.name] = time.monotonic()
      return
    self._running.pop(job.name, None)
    if event == LOCKED:
      self._elsewhere.add(job.name)
      return
    self._left.pop(job.name, None)
    report = f'{job.name}: done'
    if event == FAILED:
      self.failed[job.name] = outcome.message
      report = f'{job.name}: FAILED ({outcome.message})'
    elif outcome is not None:
      report += f' in {outcome.seconds:.0f} s'
      for kind in (*job.kinds, 'any'):
        self._seconds[kind].append(outcome.seconds)
    self._say(f'{report}; {self.line()}')

  def line(self) -> str:
    """Returns how many are done and left, and the estimated time left."""
    waiting = len(self._left) - len(self._running) - len(self._elsewhere)
    done = self._total - len(self._left) - len(self.failed)
    line = f'{done} of {self._total} done'
    if self._running:
      line += f', {len(self._running)} running'
    if self._elsewhere:
      line += f', {len(self._elsewhere)} running elsewhere'
    line += f', {len(self.failed)} failed, {waiting} left'
    left = self.seconds_left()
    if left is not None and self._left:
      line += f', about {_duration(left)}'
    return line

  def seconds_left(self) -> float | None:
    """Estimates the time left from ended runs; None before the first."""
    if not self._seconds:
      return None
    now, total = time.monotonic(), 0.0
    for name, job in self._left.items():
      if name not in self._elsewhere:
        spent = now - self._running.get(name, now)
        total += max(0.0, self._expected(job) - spent)
    return total / self._at_once

  def _expected(self, job: Job) -> float:
    """Returns the mean over ended runs of its most specific known kind."""
    kind = next(k for k in (*job.kinds, 'any') if k in self._seconds)
    return statistics.fmean(self._seconds[kind])


def _duration(seconds: float) -> str:
  if seconds < 90:
    return f'{seconds:.0f} s'
  if seconds < 5400:
    return f'{seconds / 60:.0f} min'
  return f'{seconds / 3600:.1f} h'
